"""The watch loop settles what ran elsewhere, cancels what is unwanted here, and lets nobody wait for ever."""

import pytest
from clocks import VirtualClock

from wasmq.bell import Bell
from wasmq.errors import UnknownJob
from wasmq.handles import JobHandle
from wasmq.job import Call, Caps, Job, Outcome
from wasmq.store import Fate
from wasmq.watch import Watcher

DONE = Outcome(status="succeeded")


def job(name):
    """A job of which only the id matters."""
    return Job(name, Call("m" * 64, "f"), Caps(1, 1, 1.0, 1, 1), "default", 0, None, 0.0, 0.0, 0.0, 1.0)


class Elsewhere:
    """What of a shared store a watcher asks."""

    def __init__(self):
        self.changed = Bell()
        self.unwanted = []
        self.known = {}
        self.asked = []

    async def wishes(self):
        """The jobs that are to be cancelled."""
        return self.unwanted

    async def fates(self, ids):
        """Those of the jobs that are known."""
        self.asked.append(len(ids))
        return [Fate(name, self.known[name]) for name in ids if name in self.known]


@pytest.fixture
def watched():
    """A watcher and what it deals with."""

    class Watched:
        store, clock, handles, cancelled, here = Elsewhere(), VirtualClock(), {}, [], set()
        looked = 0

        def ended(self, job, outcome):
            self.handles.pop(job.id).settle(outcome)

        async def refuel(self):
            self.looked += 1

        def wait(self, *names):
            for name in names:
                self.handles[name] = JobHandle(name, None, None, None)

    watched = Watched()
    watched.watcher = Watcher(
        store=watched.store,
        handles=watched.handles,
        runs_here=watched.here.__contains__,
        ended=watched.ended,
        cancel=watched.cancelled.extend,
        refuel=watched.refuel,
        patience=10.0,
        clock=watched.clock,
        work=Bell(),
    )
    return watched


async def test_outcomes_from_elsewhere_are_handed_over(watched):
    """Those that have ended are settled, the others wait on; what runs here is not asked for."""
    watched.wait("a", "b", "c")
    watched.here.add("c")
    a, c = watched.handles["a"], watched.handles["c"]
    watched.store.known = {"a": (job("a"), DONE), "b": None, "c": (job("c"), DONE)}
    await watched.watcher.look()
    assert a.outcome == DONE
    assert c.outcome is None
    assert watched.handles.keys() == {"b", "c"}
    assert watched.store.asked == [2]


async def test_all_have_their_turn(watched):
    """However many wait, each is asked for in its turn, and so many at a time."""
    names = [f"j{number:04}" for number in range(2_500)]
    watched.wait(*names)
    watched.store.known = {name: (job(name), DONE) for name in names[2_400:]}
    for _ in range(3):
        await watched.watcher.look()
    assert len(watched.handles) == 2_400
    assert max(watched.store.asked) == 1_000


async def test_wishes_are_passed_on(watched):
    """What some daemon wants cancelled is cancelled here, and what it has refuelled is looked for."""
    watched.store.unwanted = ["a"]
    await watched.watcher.look()
    assert (watched.cancelled, watched.looked) == (["a"], 1)


async def test_nobody_waits_for_what_has_been_forgotten(watched):
    """A job that the store does not know may be on its way there, but not for longer than anything takes."""
    watched.wait("a", "b")
    a = watched.handles["a"]
    await watched.watcher.look()
    watched.clock.now += 9.0
    await watched.watcher.look()
    watched.store.known = {"b": None}
    await watched.watcher.look()
    watched.clock.now += 2.0
    await watched.watcher.look()
    assert watched.handles.keys() == {"b"}
    with pytest.raises(UnknownJob, match="pruned before it was seen here"):
        await a
