"""What calls have cost is remembered by export and tenant, bounded, and in its order."""

import msgspec
import pytest

from wasmq.history import KEPT, MAX_EXPORTS, History, Run, percentile
from wasmq.job import Call, Caps, Job, Outcome

JOB = Job("0", Call("m", "f"), Caps(1, 1, 1.0, 1), "acme", 0, None, 0.0, 0.0, 0.0, 0.0)


def job(name, tenant="acme", module="m", export="f"):
    """A job that has ended."""
    return msgspec.structs.replace(JOB, id=name, tenant=tenant, call=Call(module, export))


def ended(fuel, status="succeeded", ran=0.5):
    """How it ended."""
    return Outcome(status=status, fuel_used=fuel, ran=ran)


def fuel_of(history, *key):
    """What the remembered runs used, oldest first."""
    return [run.fuel for run in history.runs(*key)]


def test_runs_are_told_by_export_and_tenant():
    """One tenant's calls are not another's; without a tenant all are counted together."""
    history = History()
    history.learn(job("a"), ended(5))
    history.learn(job("b", tenant="other"), ended(7))
    history.learn(job("c", export="g"), ended(9))
    assert history.runs("m", "f", "acme") == [Run(5, 0.5, False)]
    assert sorted(fuel_of(history, "m", "f")) == [5, 7]
    assert history.runs("m", "f", "nobody") == history.runs("x", "f") == []


@pytest.mark.parametrize("status", ["timed_out", "cancelled", "lost", "out_of_memory"])
def test_an_end_that_says_nothing_of_the_cost_is_left_out(status):
    """A job that was stopped in the middle has not shown what its call costs."""
    history = History()
    history.learn(job("a"), ended(5, status))
    assert history.runs("m", "f") == []


def test_a_job_without_fuel_is_known_to_have_wanted_more():
    """Its fuel is at least what its call costs."""
    history = History()
    history.learn(job("a"), ended(5, "out_of_fuel"))
    assert history.runs("m", "f") == [Run(5, 0.5, True)]


def test_only_the_last_are_remembered():
    """So many of each export, and so many exports; those unused for longest go first."""
    history = History()
    for fuel in range(KEPT + 10):
        history.learn(job(str(fuel)), ended(fuel))
    assert fuel_of(history, "m", "f") == list(range(10, KEPT + 10))
    for number in range(MAX_EXPORTS - 1):
        history.learn(job(f"x{number}", export=f"g{number}"), ended(1))
    history.learn(job("again"), ended(1))
    history.learn(job("new", export="new"), ended(1))
    assert history.runs("m", "g0") == []
    assert len(history.runs("m", "f")) == KEPT
    assert fuel_of(history, "m", "new") == [1]


def test_what_is_recalled_comes_before_what_was_learned():
    """Newest first from the store, none twice, never in place of what is newer, and nothing once all was recalled."""
    history = History()
    history.learn(job("c"), ended(3))
    history.recall(job("c"), ended(3))
    history.recall(job("b"), ended(2))
    history.recall(job("a"), ended(1))
    assert fuel_of(history, "m", "f") == [1, 2, 3]
    for number in range(KEPT):
        history.recall(job(f"old{number}"), ended(0))
    assert fuel_of(history, "m", "f")[-3:] == [1, 2, 3]
    assert len(history.runs("m", "f")) == KEPT
    other = History()
    other.recalled()
    other.recall(job("a"), ended(1))
    assert other.runs("m", "f") == []


@pytest.mark.parametrize(
    ("values", "part", "wanted"),
    [
        ([7], 0.5, 7),
        ([1, 2], 0.5, 1),
        ([3, 1, 2], 0.5, 2),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 102)), 0.99, 100),
    ],
)
def test_the_percentile_is_one_of_the_values(values, part, wanted):
    """The nearest rank: the smallest that is no less than so many of them."""
    assert percentile(values, part) == wanted
