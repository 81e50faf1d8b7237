"""Jobs that have spent their fuel and wait for more: suspended by their workers, refuelled or given up from here.

What a refuelled job may spend is the store's to know, so it is recorded before the worker is told: should the worker
die, the next attempt has the raised cap too. A job is refuelled while a worker has it, suspended or not; one that is
queued has spent nothing, and has its whole cap still before it. Where daemons share a store, each of them can refuel
what another one runs, which looks for that as it looks for jobs to be cancelled.
"""

from __future__ import annotations

import heapq
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from wasmq.admission import check_refuel
from wasmq.bell import Bell
from wasmq.errors import BudgetExhausted, NotRefuellable, StoreUnavailable, no_such_job
from wasmq.ledger import Wait
from wasmq.logs import get_logger
from wasmq.store import SharedStore
from wasmq.tasks import apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from anyio.abc import TaskGroup, TaskStatus

    from wasmq.clock import Clock
    from wasmq.config import LimitsConfig
    from wasmq.events import Onlookers
    from wasmq.job import Job
    from wasmq.metrics import Metrics
    from wasmq.pool.pool import Pool, Sending
    from wasmq.store import JobRecord, Store
    from wasmq.store.protocol import Raised

_SWEEP_ABOVE: Final = 1_000


class Suspensions:
    """When suspended jobs are given up. Pure: `now` and what is returned are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._until: dict[str, tuple[float, Job]] = {}
        self._heap: list[tuple[float, str]] = []

    def add(self, job: Job, now: float) -> None:
        """Give a job up when its time is over, unless it is dropped or added again before."""
        until = now + job.caps.suspend
        self._until[job.id] = (until, job)
        heapq.heappush(self._heap, (until, job.id))
        if len(self._heap) > 2 * len(self._until) + _SWEEP_ABOVE:
            self._heap = [(until, job_id) for job_id, (until, _) in self._until.items()]
            heapq.heapify(self._heap)

    def drop(self, job_id: str) -> None:
        """Forget a job."""
        self._until.pop(job_id, None)

    def due(self, now: float) -> list[Job]:
        """Return the jobs whose time is over, and forget them."""
        over = []
        while (until := self.next()) is not None and until <= now:
            _, job_id = heapq.heappop(self._heap)
            over.append(self._until.pop(job_id)[1])
        return over

    def next(self) -> float | None:
        """Return when the next job's time is over; None when there is none."""
        heap = self._heap
        while heap:
            until, job_id = heap[0]
            known = self._until.get(job_id)
            if known is not None and known[0] == until:
                return until
            heapq.heappop(heap)
        return None


class Refuelling:
    """Takes note of suspended jobs, raises caps, and gives up those that nobody refuels.

    `limits` may be replaced, `send` takes frames to workers, and `idle` is rung when one job fewer is at work.
    """

    def __init__(
        self,
        *,
        limits: LimitsConfig,
        store: Store,
        pool: Pool,
        send: Callable[[Iterable[Sending]], None],
        onlookers: Onlookers,
        metrics: Metrics,
        clock: Clock,
        idle: Bell,
        tasks: TaskGroup,
    ) -> None:
        self.limits = limits
        self._store = store
        self._shared = store if isinstance(store, SharedStore) else None
        self._pool = pool
        self._send = send
        self._onlookers = onlookers
        self._metrics = metrics
        self._clock = clock
        self._idle = idle
        self._tasks = tasks
        self._suspensions = Suspensions()
        self._given_up: set[str] = set()
        self._under_way: dict[str, int] = {}
        self._bell = Bell()
        self._log = get_logger()

    def suspended(self, job: Job) -> None:
        """Take note that a job has spent its fuel, and waits for more."""
        self._suspensions.add(job, self._clock.monotonic())
        self._onlookers.suspended(job)
        self._log.info("job.suspended", job=job.id, tenant=job.tenant, fuel=job.fuel, seconds=job.caps.suspend)
        self._idle.ring()
        self._bell.ring()

    def over(self, jobs: Iterable[Job]) -> None:
        """Take note that jobs are with their workers no more."""
        for job in jobs:
            if job.refuellable:
                self._suspensions.drop(job.id)
                self._given_up.discard(job.id)

    def known(self, record: JobRecord) -> JobRecord:
        """Return what the store knows of a job with whether it is suspended here."""
        if record.state != "running" or not self._pool.is_suspended(record.id):
            return record
        return msgspec.structs.replace(record, suspended=True, fuel_spent=record.job.fuel)

    async def seen(self, record: JobRecord) -> JobRecord:
        """Return what the store knows of a job with what a worker here knows of it, which is asked for it."""
        if record.state != "running" or self._pool.is_suspended(record.id):
            return self.known(record)
        spent = await self._onlookers.spent(record.id)
        return self.known(msgspec.structs.replace(record, fuel_spent=spent))

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Give up jobs whose time is over until cancelled."""
        task_status.started()
        while True:
            due = self._suspensions.next()
            if due is not None and due <= self._clock.monotonic():
                # Nothing is given up for which another daemon has recorded fuel.
                with suppress(StoreUnavailable):
                    await self.look()
            await self._bell.wait(self.tick())

    async def look(self) -> None:
        """Let jobs go on that another daemon has refuelled. Raises `StoreUnavailable`."""
        if self._shared is None:
            return
        told = [raised for raised in await self._shared.raised() if self._hear(raised)]
        if told:
            await self._shared.told(told)

    def _hear(self, raised: Raised) -> bool:
        """Raise a job's cap as another daemon has; False as long as it is still on its way to a worker."""
        where = self._pool.where(raised.id)
        if where is None or where[2].attempt != raised.attempt:
            return False
        self._let_go_on(msgspec.structs.replace(where[2], refuelled=raised.refuelled))
        return True

    def _let_go_on(self, raised: Job) -> None:
        frames = self._pool.refuel(raised)
        if frames:
            self._suspensions.drop(raised.id)
            self._onlookers.refuelled(raised)
            self._send(frames)

    def tick(self) -> float | None:
        """Give up what is due; returns the seconds until more will be, None when nothing is suspended."""
        now = self._clock.monotonic()
        for job in self._suspensions.due(now):
            if job.id in self._under_way:
                # Its fuel is about to come. Should that be refused, somebody has looked after it anyway.
                self._suspensions.add(job, now)
                continue
            self._given_up.add(job.id)
            self._send(self._pool.give_up(job.id, f", and nobody refuelled it within {job.caps.suspend:g} s"))
            self._log.info("job.given_up", job=job.id, tenant=job.tenant, fuel=job.fuel)
        due = self._suspensions.next()
        return None if due is None else max(0.0, due - now)

    async def refuel(self, job_id: str, fuel: Any) -> int:
        """Let a job that is with a worker, of whichever daemon, spend so much more; returns what it may spend in all.

        Raises `UnknownJob`, `NotRefuellable`, `InvalidLimit`, `LimitTooHigh`, `BudgetExhausted` when its tenant's
        account lacks the fuel, or `StoreUnavailable`: then nobody knows whether its cap has been raised.
        """
        job = await self._find(job_id)
        fuel = check_refuel(job, fuel, self._under_way.get(job_id, 0), self.limits)
        self._under_way[job_id] = self._under_way.get(job_id, 0) + fuel
        # What the store has begun to record must be told to the worker, whoever went away meanwhile.
        return await apart(self._tasks, lambda: self._refuel(job, fuel))

    async def _refuel(self, job: Job, fuel: int) -> int:
        try:
            return await self._record(job, fuel)
        finally:
            self._under_way[job.id] -= fuel
            if not self._under_way[job.id]:
                del self._under_way[job.id]

    async def _record(self, job: Job, fuel: int) -> int:
        raised = await self._raised(job, fuel)
        if raised is None:
            raise await self._obstacle(job.id)
        if isinstance(raised, Wait):
            raise _too_poor(job, raised, self._clock.wall())
        self._let_go_on(raised)
        self._metrics.refuelled(job.tenant)
        self._log.info("job.refuelled", job=job.id, tenant=job.tenant, fuel=fuel, total=raised.fuel)
        return raised.fuel

    async def _raised(self, job: Job, fuel: int) -> Job | Wait | None:
        now = self._clock.wall()
        if self._shared is None:
            return await self._store.refuel(job.id, job.attempt, fuel, now)
        here = self._pool.holds(job.id)
        return await self._shared.refuel(job.id, job.attempt, fuel, now, here=here, most=self.limits.max.fuel)

    async def _find(self, job_id: str) -> Job:
        """Return a job that can be refuelled now. Raises `UnknownJob` or `NotRefuellable`."""
        where = self._pool.where(job_id)
        job = None if where is None else where[2]
        if job is None and self._shared is not None:
            record = await self._shared.get(job_id)
            job = None if record is None or record.state != "running" else record.job
        if job is None or job_id in self._given_up:
            raise await self._obstacle(job_id)
        if not job.refuellable:
            raise NotRefuellable(
                f"job {job_id}: it ends when its fuel is spent; submit it with on_exhausted='suspend' to refuel it"
            )
        return job

    async def _obstacle(self, job_id: str) -> Exception:
        """Return why a job that is not with a worker here, or not any more, cannot be refuelled."""
        record = await self._store.get(job_id)
        if record is None:
            return no_such_job(job_id)
        if record.outcome is not None:
            why = f"it has ended already, as {record.outcome.status}"
        elif record.state == "queued":
            why = "it is queued, and has all its fuel before it; refuel it once it runs"
        elif job_id in self._given_up:
            why = "it has just been given up, for nobody refuelled it in time"
        else:
            why = "it is not with a worker now; try again"
        return NotRefuellable(f"job {job_id}: {why}")


def _too_poor(job: Job, wait: Wait, now: float) -> BudgetExhausted:
    """Return the error for fuel that a job's tenant does not have."""
    seconds = max(0.0, wait.until - now)
    if seconds == math.inf:
        return BudgetExhausted(f"job {job.id}: {wait.why}; it takes a credit, or the end of other jobs")
    return BudgetExhausted(f"job {job.id}: {wait.why}; try again in {math.ceil(seconds)} s", seconds)
