"""Whose run answers whom: decided without a scheduler, then seen in one."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wasmq.config import ReuseConfig
from wasmq.job import Call, Caps, Job, Outcome, Program, Trap
from wasmq.reuse import Reuse, answer, is_answer

CAPS = Caps(10_000, 65_536, 2.0, 40)
DONE = Outcome(status="succeeded", values=(8,), fuel_used=4)


def job(name, number=1, **changes):
    facts = {"id": name, "call": Call("f" * 64, "mul", (number,)), "caps": CAPS, "tenant": "acme", "priority": 0}
    facts |= {"key": None, "submitted_at": 1.0, "due": 1.0, "order": 0.0, "cost": 1.0, "attempt": 1}
    return Job(**(facts | {"varies": None, "reuse": "flight"} | changes))


def make(**config):
    return Reuse(ReuseConfig(**config))


def test_the_first_of_identical_calls_is_run():
    """The others wait, and have its answer."""
    reuse = make()
    a, b, c = job("a"), job("b"), job("c")
    assert reuse.admit([a, b, c], 0.0) == ([a], [])
    assert len(reuse) == 2
    freed = reuse.ended(a, DONE, 1.0)
    assert [(each.job, each.source, each.outcome) for each in freed.answered] == [(b, "a", DONE), (c, "a", DONE)]
    assert (len(reuse), list(freed.run)) == (0, [])
    assert reuse.admit([job("d")], 2.0).run == [job("d")]


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"caps": Caps(10_001, 65_536, 2.0, 40)},
        {"call": Call("f" * 64, "mul", (1.0,))},
        {"call": Call("e" * 64, "mul", (1,))},
        {"call": Call("f" * 64, "mul", (1,), Program(stdin=bytes(2**20 + 1)))},
        {"varies": "wasi"},
        {"varies": "host"},
        {"varies": "unknown"},
        {"reuse": "never"},
    ],
)
def test_what_is_not_the_same_call_is_run(changes):
    """Another tenant's, with other limits, of another type; one too large to be looked at; one that could differ."""
    reuse = make()
    other, again = job("b", **changes), job("c", **changes)
    assert reuse.admit([job("a"), other], 0.0).run == [job("a"), other]
    alone = {"varies", "reuse"} & changes.keys() or (other.call.program is not None)
    assert bool(reuse.admit([again], 0.0).run) is bool(alone)


def test_an_answer_is_kept_for_those_that_ask_for_it():
    """For its age, by "result" alone, without what the guest was given."""
    reuse = make(age=10.0)
    first = job("a", reuse="result")
    reuse.admit([first], 0.0)
    reuse.ended(first, DONE.of(first), 1.0)
    ((_, source, outcome),) = reuse.admit([job("b", reuse="result")], 10.9).answered
    assert (source, outcome, outcome.basis) == ("a", DONE, None)
    assert reuse.admit([job("c")], 2.0).run == [job("c")]
    reuse.ended(job("c"), DONE, 2.0)
    late = job("d", reuse="result")
    assert reuse.admit([late], 11.0).run == [late]


def test_kept_answers_are_bounded():
    """By number and by bytes; the one unused longest goes first, and one too large is not kept."""
    reuse = make(entries=2, bytes=10_000)
    for number in range(4):
        each = job(str(number), number, reuse="result")
        reuse.admit([each], 0.0)
        reuse.ended(each, Outcome(status="succeeded", stdout=bytes(9_000 if number == 3 else 0)), 0.0)
        if number == 1:
            assert reuse.admit([job("again", 0, reuse="result")], 0.0).answered
    found = [bool(reuse.admit([job(f"b{number}", number, reuse="result")], 0.0).answered) for number in range(4)]
    assert found == [True, False, True, False]
    assert 0 < reuse.kept <= 10_000


def test_when_the_leader_is_gone_the_next_one_leads():
    """Cancelled or back in the queue: one of those that wait is run, and the rest waits for it."""
    reuse = make()
    a, b, c, d = (job(name) for name in "abcd")
    reuse.admit([a, b, c, d], 0.0)
    assert reuse.drop(["c", "unknown"]) == [c]
    assert reuse.ended(a, Outcome(status="cancelled"), 0.0) == ((b,), ())
    assert reuse.ended(b, None, 0.0) == ((d,), ())
    assert reuse.admit([a], 0.0) == ([], [])
    assert [each.job for each in reuse.ended(d, DONE, 0.0).answered] == [a]


@pytest.mark.parametrize("status", ["timed_out", "out_of_memory", "lost"])
def test_what_came_to_no_answer_is_run_by_everybody(status):
    """They would wait for each other, one after the other; so they run together, and so do those that come next."""
    reuse = make(age=10.0)
    a, b, c = job("a"), job("b"), job("c")
    reuse.admit([a, b, c], 0.0)
    assert reuse.ended(a, Outcome(status=status), 0.0) == ([b, c], ())
    d, e = job("d"), job("e")
    assert reuse.admit([d, e], 1.0) == ([d, e], [])
    f, g = job("f"), job("g")
    assert reuse.admit([f, g], 10.0) == ([f], [])


def test_a_leader_that_cannot_run_takes_its_flight_back_to_the_queue():
    """At once: not each in its turn."""
    reuse = make()
    a, b, c, d = (job(name) for name in "abcd")
    reuse.admit([a, b, c, d], 0.0)
    assert reuse.ended(a, None, 0.0) == ((b,), ())
    assert reuse.disband(b) == [c, d]
    assert len(reuse) == 0
    assert reuse.ended(b, None, 0.0) == ((), ())
    assert reuse.disband(job("unknown")) == []


def test_so_many_wait_and_no_more():
    """The others are run."""
    reuse = make(waiting=1)
    a, b, c = job("a"), job("b"), job("c")
    assert reuse.admit([a, b, c], 0.0).run == [a, c]
    assert reuse.ended(c, DONE, 0.0) == ((), ())


@pytest.mark.parametrize(
    ("outcome", "whether"),
    [
        (Outcome(status="succeeded"), True),
        (Outcome(status="exited"), True),
        (Outcome(status="out_of_fuel"), True),
        (Outcome(status="trapped", trap=Trap(code="unreachable")), True),
        (Outcome(status="trapped", trap=Trap(code="host")), False),
        (Outcome(status="out_of_memory"), False),
        (Outcome(status="timed_out"), False),
        (Outcome(status="cancelled"), False),
        (Outcome(status="lost"), False),
    ],
)
def test_only_what_the_call_came_to_is_an_answer(outcome, whether):
    """Not what the clock, the machine or somebody's wish made of it."""
    assert is_answer(outcome) is whether


def test_the_bill_says_who_paid():
    """Charged or not, what the run spent is on the outcome, and so in its receipt."""
    reuse = make()
    reuse.admit([job("a"), job("b")], 0.0)
    (answered,) = reuse.ended(job("a"), DONE, 0.0).answered
    free = answer(answered, charged=False, queued=1.5, attempts=1)
    full = answer(answered, charged=True, queued=1.5, attempts=1)
    assert (free.fuel_used, free.fuel_saved, free.reused, free.queued, free.ran) == (0, 4, "a", 1.5, 0.0)
    assert (full.fuel_used, full.fuel_saved, full.reused) == (4, 0, "a")
    assert (free.receipt.fuel, free.receipt.charged) == (4, 0)
    assert (full.receipt.fuel, full.receipt.charged) == (4, 4)
    assert free.receipt.result == full.receipt.result == DONE.of(job("a")).receipt.result


class Storm(RuleBasedStateMachine):
    """Jobs come, runs end in every way, workers die, and whoever submitted changes their mind.

    The machine knows what a scheduler knows: which jobs are being run, and which have their outcome.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reuse = Reuse(ReuseConfig(entries=3, bytes=20_000, age=5.0, waiting=6))
        self.now = 0.0
        self.number = 0
        self.room = True
        self.runs: dict[tuple[str, int], Job] = {}
        self.queue: list[Job] = []
        self.outcomes: dict[str, Outcome] = {}
        self.accepted: set[str] = set()

    def take(self, freed) -> None:
        """Run and finish what the decision says, as the dispatcher and the settler do."""
        for each in freed.run:
            if not self.room:
                for back in (each, *self.reuse.disband(each)):
                    self.back(back)
                continue
            assert (each.id, each.attempt) not in self.runs, "run twice at once"
            assert each.id not in self.outcomes, "run after its end"
            self.runs[each.id, each.attempt] = each
        for each, source, outcome in freed.answered:
            assert each.id not in self.outcomes, "two outcomes"
            assert each.varies is None
            assert each.reuse != "never"
            assert outcome.values == each.call.args, "another call's answer"
            assert source.partition("-")[0] == each.tenant, "another tenant's answer"
            self.outcomes[each.id] = outcome

    @rule(
        calls=st.lists(
            st.tuples(
                st.integers(0, 2),
                st.sampled_from("ab"),
                st.sampled_from(["never", "flight", "result"]),
                st.sampled_from([None, None, None, "wasi"]),
            ),
            max_size=5,
        )
    )
    def come(self, calls) -> None:
        jobs = []
        for number, tenant, reuse, varies in calls:
            self.number += 1
            jobs.append(job(f"{tenant}-{self.number}", number, tenant=tenant, reuse=reuse, varies=varies))
        self.accepted.update(each.id for each in jobs)
        self.take(self.reuse.admit(jobs, self.now))

    @rule()
    def claim_again(self) -> None:
        jobs, self.queue = self.queue, []
        self.take(self.reuse.admit(jobs, self.now))

    def back(self, job_: Job) -> None:
        """Queue a job again; its next start is another attempt."""
        self.queue.append(job(job_.id, **{**_facts(job_), "attempt": job_.attempt + 1}))

    @rule()
    def workers_die_or_come(self) -> None:
        self.room = not self.room

    @precondition(lambda self: self.runs)
    @rule(
        place=st.integers(0, 100),
        status=st.sampled_from(["succeeded", "trapped", "timed_out", "cancelled", "lost", None]),
    )
    def end(self, place, status) -> None:
        key = sorted(self.runs)[place % len(self.runs)]
        ended = self.runs.pop(key)
        if status is None:  # its worker died: it is started again some time later
            self.back(ended)
            self.take(self.reuse.ended(ended, None, self.now))
            return
        outcome = Outcome(status=status, values=ended.call.args, fuel_used=3)
        self.outcomes[ended.id] = outcome
        self.take(self.reuse.ended(ended, outcome, self.now))

    @precondition(lambda self: len(self.reuse))
    @rule(places=st.sets(st.integers(0, 100), max_size=4))
    def cancel_waiting(self, places) -> None:
        waiting = sorted(each.id for each in self.reuse.jobs())
        ids = {waiting[place % len(waiting)] for place in places}
        dropped = self.reuse.drop(ids)
        assert {each.id for each in dropped} == ids
        for each in dropped:
            self.outcomes[each.id] = Outcome(status="cancelled")
            self.take(self.reuse.ended(each, self.outcomes[each.id], self.now))

    @rule(seconds=st.floats(0, 4))
    def pass_time(self, seconds) -> None:
        self.now += seconds

    @invariant()
    def every_job_is_in_one_place(self) -> None:
        """It runs, waits for a run, is queued again, or has its one outcome."""
        waiting = [each.id for each in self.reuse.jobs()]
        places = [
            *waiting,
            *[each.id for each in self.runs.values()],
            *[each.id for each in self.queue],
            *self.outcomes,
        ]
        assert sorted(places) == sorted(self.accepted)
        assert len(waiting) == len(self.reuse) <= 6

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Whoever waits, waits for a run of the same call that is under way."""
        under_way = {(each.tenant, each.call.args) for each in self.runs.values() if each.reuse != "never"}
        assert {(each.tenant, each.call.args) for each in self.reuse.jobs()} <= under_way

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        """In bytes."""
        assert 0 <= self.reuse.kept <= 20_000


def _facts(of: Job) -> dict[str, object]:
    return {"number": of.call.args[0], "tenant": of.tenant, "reuse": of.reuse, "varies": of.varies}


TestStorm = Storm.TestCase
