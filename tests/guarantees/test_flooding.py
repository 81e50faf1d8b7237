"""Promise 7, exactly: whatever one tenant submits, fuel goes by weight, on every store.

The scheduler's own decisions are made here, one after the other: virtual time, the store's claims, the pool's
assignments, the worker's turns. Only the guests are a model, and so is time, which passes as they spend fuel; so the
outcome is the same on any machine.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from clocks import VirtualClock

from wasmq.config import StoreConfig
from wasmq.fairness import Fairness
from wasmq.job import Call, Caps, Job, Outcome
from wasmq.modules import Module
from wasmq.pool.memory import Memory
from wasmq.pool.pool import Pool
from wasmq.store import Finished, open_store
from wasmq.types import Extern, FunctionType
from wasmq_worker.protocol import Ended, Start
from wasmq_worker.shares import START_COST, Shares

if TYPE_CHECKING:
    from pathlib import Path

    from wasmq.store import Store
    from wasmq_worker.protocol import Assignment

SPEED = 5e8  # fuel per second
QUANTUM = 100_000
TURNS = 20  # between two looks of the worker at its channel
CAP = 10**9
SHORT = 4_000_000  # fuel that half of the calls use, more or less; the others use four times as much
WEIGHTS = {"flood": 1.0, "light": 1.0, "double": 2.0, "half": 0.5}
WAITING = 10  # jobs that each of the others has waiting at any time
FLOOD = 100  # jobs of the flood for each job of the others
WARM_UP = 0.2  # seconds in which the calls' costs are learned


class Guest:
    """A live instance that wants so much fuel."""

    def __init__(self, assignment: Assignment, wanted: int) -> None:
        self.assignment = assignment
        self.wanted = wanted
        self.spent = 0


class Worker:
    """A model of the process that runs guests: the real rule of turns, and for guests a number to count down."""

    def __init__(self) -> None:
        self.shares = Shares(QUANTUM)
        self.seconds = 0.0

    def run(self) -> tuple[list[Guest], list[Guest], Counter[int]]:
        """Take some turns; returns who has begun, who has ended, and by share the fuel spent, starts included."""
        begun, ended = [], []
        spent: Counter[int] = Counter()
        for _ in range(TURNS):
            if not self.shares.waiting:
                break
            guest, first = self.shares.take()
            fuel = min(QUANTUM, guest.wanted - guest.spent)
            guest.spent += fuel
            cost = fuel + START_COST if first else fuel
            spent[guest.assignment.share] += cost
            self.shares.charge(guest, fuel, first=first, more=guest.spent < guest.wanted)
            self.seconds += cost / SPEED
            if first:
                begun.append(guest)
            if guest.spent == guest.wanted:
                ended.append(guest)
        return begun, ended, spent


class Model:
    """A scheduler with one worker, in so few lines as the order of jobs needs."""

    def __init__(self, store: Store, clock: VirtualClock, *, instances: int, flood_priority: int) -> None:
        self.store = store
        self.clock = clock
        self.fairness = Fairness(float(QUANTUM), WEIGHTS.__getitem__)
        self.pool = Pool(
            instances=instances,
            is_last=lambda _: False,
            weight=WEIGHTS.__getitem__,
            modules=_module,
            counted=_module,
            # Room for all instances, whatever each may come to: this is about turns.
            memory=Memory(2**50, 1),
        )
        self.pool.join(1)
        self.worker = Worker()
        self.fuel: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        self.tenants: dict[int, str] = {}
        self.wanted: dict[str, int] = {}
        self.flood_priority = flood_priority
        self.lot = random.Random(7)

    async def submit(self, tenant: str, count: int, *, priority: int = 0) -> None:
        """Submit jobs of a tenant; what they will use is drawn by lot, most of it by few of them."""
        jobs = []
        for _ in range(count):
            export = self.lot.choice(("short", "long"))
            cost = min(self.fairness.expect(tenant, tenant, export), float(CAP))
            name = f"j{len(self.wanted):07}"
            usual = SHORT if export == "short" else 4 * SHORT
            self.wanted[name] = min(int(self.lot.lognormvariate(0.0, 0.7) * usual), CAP)
            jobs.append(
                Job(
                    id=name,
                    call=Call(tenant, export),
                    caps=Caps(CAP, 65_536, 10.0, 0),
                    tenant=tenant,
                    priority=priority,
                    key=None,
                    submitted_at=self.clock.now,
                    due=self.clock.now,
                    order=self.fairness.tag(tenant, WEIGHTS[tenant], cost),
                    cost=cost,
                )
            )
        await self.store.put(jobs)
        self.waiting[tenant] += count

    async def run(self, seconds: float) -> None:
        """Let so much time pass; each job that ends is followed by another one of its tenant."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            await self._claim()
            begun, ended, spent = self.worker.run()
            for share, fuel in spent.items():
                self.fuel[self.tenants[share]] += fuel
            self.pool.underway(1, [guest.assignment.ticket for guest in begun])
            self.clock.now += self.worker.seconds
            self.worker.seconds = 0.0
            if ended:
                await self._settle(ended)

    async def _claim(self) -> None:
        while self.pool.room():
            wanted, sated = self.pool.wants()
            jobs = await self.store.claim(wanted, self.clock.now, sated)
            sendings = self.pool.assign(jobs, self.clock.now)
            frames = [sending.frame for sending in sendings if isinstance(sending.frame, Start)]
            assignments = [assignment for frame in frames for assignment in frame.jobs]
            for job, assignment in zip(jobs, assignments, strict=True):
                self.fairness.started(job.order, job.tenant)
                self.waiting[job.tenant] -= 1
                self.tenants[assignment.share] = job.tenant
                self.worker.shares.add(Guest(assignment, self.wanted[job.id]))
            if len(jobs) < wanted:
                return

    async def _settle(self, ended: list[Guest]) -> None:
        ends = []
        for job, _, end in self.pool.ended(1, [Ended(guest.assignment.ticket, "succeeded") for guest in ended]):
            used = self.wanted[job.id]
            outcome = Outcome(status=end.status, fuel_used=used, attempts=1)
            shift = self.fairness.shift(job.tenant, job.cost, used)
            ends.append(Finished(job.id, job.attempt, outcome, shift))
            self.fairness.settled(job.tenant, job.cost, float(used))
            self.fairness.learn(job.tenant, job.call.module, job.call.export, float(used))
        assert all(await self.store.finish(ends))
        await self.top_up()

    async def top_up(self) -> None:
        """Let the light tenants have their few jobs waiting, and the flood a hundred for each of theirs."""
        missing = {tenant: WAITING - self.waiting[tenant] for tenant in WEIGHTS if tenant != "flood"}
        for tenant, count in missing.items():
            if count > 0:
                await self.submit(tenant, count)
                await self.submit("flood", FLOOD * count, priority=self.flood_priority)


def _module(digest: str) -> Module:
    function = FunctionType((), ())
    return Module(
        digest=digest,
        kind="module",
        exports=(Extern("short", function), Extern("long", function)),
        imports=(),
        size=1,
        artifact=f"/artifacts/{digest}",  # type: ignore[arg-type]
        counted=False,
        start=False,
        memory=65_536,
        exported_memory=0,
    )


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind, with nothing in it."""
    if request.param == "postgres":
        found: str = request.getfixturevalue("postgres_url")
        return found
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"


async def measured(url: str, *, instances: int, flood_priority: int, seconds: float) -> dict[str, float]:
    """By tenant the fuel of some seconds of run time, as a part of what its weight is due."""
    clock = VirtualClock()
    store = open_store(url, StoreConfig(), clock)
    await store.open()
    try:
        model = Model(store, clock, instances=instances, flood_priority=flood_priority)
        await model.top_up()
        await model.run(WARM_UP)
        model.fuel.clear()
        await model.run(seconds)
    finally:
        await store.close()
    total, weights = sum(model.fuel.values()), sum(WEIGHTS.values())
    assert total == pytest.approx(SPEED * seconds, rel=0.01)
    return {tenant: model.fuel[tenant] / total * weights / weight for tenant, weight in WEIGHTS.items()}


@pytest.mark.parametrize("flood_priority", [0, 1_000])
async def test_a_flood_takes_no_more_than_its_share(url, flood_priority):
    """One tenant submits a hundred jobs for each of the others'; in one second of run time all get what they are due.

    Within 2 %, whatever priorities the flood gives itself, though nobody knew before what the jobs would use.
    """
    parts = await measured(url, instances=1_000, flood_priority=flood_priority, seconds=1.0)
    assert parts == {tenant: pytest.approx(1.0, rel=0.02) for tenant in WEIGHTS}


async def test_few_instances_take_longer_to_even_out():
    """Where the jobs of one tenant can fill all instances, shares are kept too, over as many jobs as that takes.

    A tag says what was expected of the jobs before it, and what those that run now will use is not known yet.
    """
    parts = await measured("memory://", instances=16, flood_priority=0, seconds=20.0)
    assert parts == {tenant: pytest.approx(1.0, rel=0.1) for tenant in WEIGHTS}
