"""The queue's lanes, against the plainest list that does the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest
from clocks import NOON, VirtualClock
from conformance import make_job
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wasmq.store.queue import Entry, Queue

if TYPE_CHECKING:
    from wasmq.job import Job

TENANTS = "abc"


class Plain:
    """A list of entries; `held` says until when a lane is passed over, for as long as it has ready jobs."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Job, int, float]] = []
        self.held: dict[str, float] = {}

    def lane(self, tenant: str, now: float) -> list[tuple[Job, int, float]]:
        """Return a tenant's ready jobs."""
        return [item for item in self.waiting if item[0].tenant == tenant and item[2] <= now]

    def wake(self, now: float) -> None:
        """Forget who was held until now, or has nothing to be held for."""
        self.held = {
            tenant: until for tenant, until in self.held.items() if until > now and self.lane(tenant, now)
        }  # fmt: skip

    def claim(self, limit: int, now: float, closed: dict[str, float], passing: str) -> list[tuple[str, float]]:
        """Return ids and tags of the jobs that start, and strike them off."""
        self.wake(now)
        claimed = []
        while len(claimed) < limit:
            ready = [item for item in self.waiting if item[2] <= now and item[0].tenant not in {*self.held, *passing}]
            if not ready:
                break
            owner = min(ready, key=lambda item: (item[0].order, item[1]))
            tenant = owner[0].tenant
            if tenant in closed:
                self.held[tenant] = closed[tenant]
                continue
            first = min(
                self.lane(tenant, now),
                key=lambda item: (
                    -item[0].priority,
                    math.inf if item[0].deadline is None else item[0].deadline,
                    item[1],
                ),
            )
            self.waiting.remove(first)
            if owner is not first:
                self.waiting.remove(owner)
                later = msgspec.structs.replace(owner[0], order=first[0].order)
                self.waiting.append((later, owner[1], owner[2]))
            claimed.append((first[0].id, owner[0].order))
            self.wake(now)
        return claimed

    def due(self, now: float) -> float | None:
        """Return when something may go on that waits for its time."""
        self.wake(now)
        times = [item[2] for item in self.waiting if item[2] > now]
        return min([*times, *(until for until in self.held.values() if until < math.inf)], default=None)


class Lanes(RuleBasedStateMachine):
    """Jobs come, are claimed, go back and leave, in any order; now and then a tenant is held."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.closed: dict[str, float] = {}
        self.queue: Queue[Entry] = Queue(lambda job, _: self.closed.get(job.tenant))
        self.plain = Plain()
        self.entries: dict[str, Entry] = {}
        self.running: list[Entry] = []
        self.age = 0

    @rule(
        tenant=st.sampled_from(TENANTS),
        priority=st.sampled_from([0, 0, 0, 1, -1]),
        deadline=st.sampled_from([None, None, NOON + 3.0, NOON + 9.0]),
        order=st.integers(0, 5),
        delay=st.sampled_from([0.0, 0.0, 0.0, 5.0]),
    )
    def enter(self, tenant: str, priority: int, deadline: float | None, order: int, delay: float) -> None:
        self.age += 1
        job = make_job(
            f"j{self.age}",
            self.clock,
            tenant=tenant,
            priority=priority,
            deadline=deadline,
            order=float(order),
            delay=delay,
        )
        entry = self.entries[job.id] = Entry(job, self.age, job.due)
        self.queue.enter(entry, self.clock.now)
        self.plain.waiting.append((job, self.age, job.due))

    @rule(limit=st.integers(0, 5), passing=st.sampled_from(["", "", "", "a", "bc"]))
    def claim(self, limit: int, passing: str) -> None:
        expected = self.plain.claim(limit, self.clock.now, self.closed, passing)
        claimed = self.queue.claim(limit, self.clock.now, passing)
        assert [(entry.job.id, entry.job.order) for entry in claimed] == expected
        for entry in claimed:
            assert entry.state == "running"
            del self.entries[entry.job.id]
            self.running.append(entry)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A job that is cancelled takes the tag with it that it has now."""
        entry = self.entries.pop(data.draw(st.sampled_from(sorted(self.entries))))
        self.queue.leave(entry)
        self.plain.waiting = [item for item in self.plain.waiting if item[1] != entry.age]
        self.plain.wake(self.clock.now)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), charged=st.booleans(), wait=st.sampled_from([0.0, 5.0]))
    def release(self, data: st.DataObject, charged: bool, wait: float) -> None:
        """A job that goes back has the tag that it started with."""
        entry = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        due = self.clock.now + wait
        self.queue.release(entry, charged=charged, due=due, now=self.clock.now)
        self.entries[entry.job.id] = entry
        self.plain.waiting.append((entry.job, entry.age, due))

    @rule(tenant=st.sampled_from(TENANTS), wait=st.sampled_from([5.0, 20.0, math.inf]))
    def close(self, tenant: str, wait: float) -> None:
        self.closed[tenant] = self.clock.now + wait

    @rule(tenant=st.sampled_from(TENANTS))
    def free(self, tenant: str) -> None:
        self.closed.pop(tenant, None)
        self.plain.held.pop(tenant, None)
        self.queue.free(tenant)

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0]))
    def advance(self, seconds: float) -> None:
        self.clock.now += seconds
        self.closed = {tenant: until for tenant, until in self.closed.items() if until > self.clock.now}

    @invariant()
    def the_numbers_agree(self) -> None:
        assert (self.queue.queued, self.queue.running) == (len(self.entries), len(self.running))
        assert self.queue.earliest == min((item[2] for item in self.plain.waiting), default=None)

    @rule()
    def look(self) -> None:
        assert self.queue.next_due(self.clock.now) == self.plain.due(self.clock.now)


class TestLanes(Lanes.TestCase):
    """Anything in any order."""

    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def fill(queue, count, tenant="a", **fields):
    """Put `count` jobs of a tenant, with tags of their own."""
    clock = VirtualClock()
    entries = [
        Entry(make_job(f"{tenant}{n}", clock, tenant=tenant, order=float(n), **fields), n, clock.now)
        for n in range(count)
    ]
    for entry in entries:
        queue.enter(entry, clock.now)
    return entries


def test_a_tenants_priorities_change_nobody_elses_turns():
    """However high a tenant sets its priorities, the tags that start in each lane are the same ones."""
    plain, urgent = Queue(), Queue()
    for queue, priority in ((plain, 0), (urgent, 1_000)):
        fill(queue, 20)
        fill(queue, 20, "b", priority=priority)
    turns = [[entry.job.tenant for entry in queue.claim(40, NOON)] for queue in (plain, urgent)]
    assert turns[0] == turns[1]


def test_a_flood_that_is_cancelled_leaves_nothing_behind():
    """What is stale in the heaps is never more than a fixed number beyond what waits."""
    queue = Queue()
    for entry in fill(queue, 20_000)[:-1]:
        queue.leave(entry)
    lane = queue._lanes["a"]
    assert len(lane.jobs) + len(lane.tags) < 200
    assert len(queue._turns) + len(queue._waits) < 3_000
    queue.leave(lane.first())
    assert (queue.queued, queue.earliest, queue._lanes) == (0, None, {})


@pytest.mark.parametrize("until", [NOON + 5.0, math.inf])
def test_a_held_tenant_costs_the_others_nothing(until):
    """It is asked once, not at each claim; the others go on as if it were not there."""
    asked = []

    def start(job, _now):
        asked.append(job.tenant)
        return until if job.tenant == "a" else None

    queue = Queue(start)
    fill(queue, 100)
    fill(queue, 10, "b")
    for _ in range(10):
        assert [entry.job.tenant for entry in queue.claim(1, NOON)] == ["b"]
    assert asked.count("a") == 1
    assert queue.next_due(NOON) == (None if until == math.inf else until)
