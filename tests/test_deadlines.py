"""The books of deadlines: what is over and when, what goes before what, whatever the clocks do."""

import msgspec
import pytest
from clocks import NOON
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from wasmq.deadlines import Deadlines, time_left
from wasmq.job import Call, Caps, Job

JOB = Job("0", Call("m", "f"), Caps(1, 1, 10.0, 1), "acme", 0, None, NOON, NOON, 0.0, 100.0)


def job(name, after, tenant="acme", cost=100.0):
    """A job submitted at noon, to be done so many seconds later; None is without a deadline."""
    deadline = None if after is None else NOON + after
    return msgspec.structs.replace(JOB, id=name, tenant=tenant, deadline=deadline, cost=cost)


@pytest.mark.parametrize(
    ("after", "now", "left"),
    [
        (None, 0.0, 10.0),
        (60.0, 0.0, 10.0),
        (60.0, 55.0, 5.0),
        (60.0, 60.0, 0.0),
        (60.0, 99.0, 0.0),
        (5.0, -3600.0, 5.0),
    ],
)
def test_a_job_has_the_time_until_its_deadline(after, now, left):
    """Its timeout if that is less; never less than nothing, nor more than was given when the clock steps back."""
    assert time_left(job("a", after), NOON + now) == left


def test_jobs_without_a_deadline_are_not_watched():
    """They cost nothing and are never over."""
    deadlines = Deadlines()
    assert deadlines.watch(job("a", None), now=0.0, wall=NOON) is False
    assert deadlines.next() is None
    assert deadlines.over(1e9) == []
    deadlines.started(job("a", None))
    deadlines.ended(job("a", None))


def test_deadlines_are_over_in_their_order():
    """Each once, and none of a job that has ended; the first to come is told of."""
    deadlines = Deadlines()
    watched = [deadlines.watch(job(name, after), now=5.0, wall=NOON) for name, after in (("b", 2), ("a", 1), ("c", 3))]
    assert watched == [True, True, False]
    assert deadlines.next() == 6.0
    deadlines.ended(job("b", 2))
    assert deadlines.over(5.9) == []
    assert deadlines.over(8.0) == ["a", "c"]
    assert deadlines.over(9.0) == []
    deadlines.again(["a", "b"], 10.0)
    assert deadlines.over(9.9) == []
    assert deadlines.over(10.0) == ["a"]


def test_a_step_of_the_wall_clock_moves_no_deadline():
    """What counts is the time that was left when the job was watched."""
    deadlines = Deadlines()
    deadlines.watch(job("a", 10), now=100.0, wall=NOON)
    deadlines.watch(job("b", 10), now=100.0, wall=NOON - 3600.0)
    assert deadlines.next() == 110.0
    assert deadlines.over(110.0) == ["a"]


def test_what_goes_before_are_earlier_deadlines():
    """Of the same tenant's jobs that have not started."""
    deadlines = Deadlines()
    for name, after, tenant, cost in (("a", 1, "acme", 1.0), ("b", 2, "acme", 10.0), ("c", 2, "other", 100.0)):
        deadlines.watch(job(name, after, tenant, cost), now=0.0, wall=NOON)
    assert deadlines.before("acme", NOON + 0.5) == 0.0
    assert deadlines.before("acme", NOON + 1) == 1.0
    assert deadlines.before("acme", NOON + 5) == 11.0
    assert deadlines.before("other", NOON + 5) == 100.0
    assert deadlines.before("nobody", NOON + 5) == 0.0
    deadlines.started(job("a", 1))
    deadlines.started(job("a", 1))
    deadlines.ended(job("b", 2))
    assert deadlines.before("acme", NOON + 5) == 0.0
    # What has started can still be late.
    assert deadlines.over(9.0) == ["a", "c"]


class Machine(RuleBasedStateMachine):
    """Jobs are watched, start and end in any order while time goes on; the model is a dictionary."""

    def __init__(self):
        super().__init__()
        self.deadlines = Deadlines()
        self.now = 0.0
        self.jobs = {}
        self.waiting = set()
        self.told = set()

    @rule(after=st.integers(1, 50), step=st.sampled_from([0.0, -3600.0]))
    def watch(self, after, step):
        name = f"j{len(self.jobs)}"
        made = job(name, after + self.now)
        self.jobs[name] = made
        self.waiting.add(name)
        self.deadlines.watch(made, now=self.now, wall=NOON + self.now)

    @rule(data=st.data(), how=st.sampled_from(["started", "ended"]))
    def leave(self, data, how):
        if not self.jobs:
            return
        name = data.draw(st.sampled_from(sorted(self.jobs)))
        getattr(self.deadlines, how)(self.jobs[name])
        self.waiting.discard(name)
        if how == "ended":
            self.told.add(name)

    @rule(seconds=st.integers(0, 30))
    def pass_by(self, seconds):
        self.now += seconds
        late = {name for name, made in self.jobs.items() if made.deadline <= NOON + self.now} - self.told
        found = self.deadlines.over(self.now)
        assert set(found) == late
        assert len(found) == len(late)
        self.told |= late

    @invariant()
    def what_goes_before_is_counted(self):
        assert self.deadlines.before("acme", NOON + 1e6) == 100.0 * len(self.waiting)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


@given(st.integers(1, 5_000))
@settings(max_examples=5, deadline=None)
def test_jobs_that_have_ended_are_forgotten(count):
    """Long deadlines of short jobs do not pile up."""
    deadlines = Deadlines()
    for number in range(count):
        made = job(f"j{number}", 1e6)
        deadlines.watch(made, now=0.0, wall=NOON)
        deadlines.ended(made)
    assert len(deadlines._heap) <= 1_001
    assert deadlines._watched == deadlines._waiting == {}
