"""The dispatch loop: claim as many jobs as the workers have room for, and send them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

from wasmq.absent import Absent
from wasmq.errors import StoreUnavailable
from wasmq.logs import get_logger
from wasmq.offers import Offers
from wasmq.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from anyio.abc import TaskGroup, TaskStatus

    from wasmq.bell import Bell
    from wasmq.clock import Clock
    from wasmq.deadlines import Deadlines
    from wasmq.events import Onlookers
    from wasmq.fairness import Fairness
    from wasmq.gate import Gate
    from wasmq.host import HostFunctions
    from wasmq.job import Job
    from wasmq.modules import Library
    from wasmq.pool.crew import Crew
    from wasmq.pool.pool import Pool, Sending
    from wasmq.reuse import Answered, Reuse
    from wasmq.store import Store

_LOOK_AGAIN = 60.0  # seconds after which the loop looks for work even if nobody rang
_PROBE_EVERY = 0.1  # seconds between two looks for jobs that fit while the line of those that do not is full
_TRY_AGAIN = 1.0  # seconds after which a store that could not record a claim is asked again


class Dispatcher:
    """Takes jobs from the store to the workers. `work` is rung when there may be work or room."""

    def __init__(
        self,
        *,
        store: Store,
        pool: Pool,
        crew: Crew,
        fairness: Fairness,
        gate: Gate,
        clock: Clock,
        work: Bell,
        onlookers: Onlookers,
        library: Library,
        functions: HostFunctions,
        reuse: Reuse,
        tasks: TaskGroup,
        hand_back: Callable[[Sequence[Job]], None],
        answered: Callable[[Sequence[Answered]], None],
        postpone: Callable[[Sequence[Job]], None],
        expire: Callable[[Sequence[Job]], None],
        deadlines: Deadlines,
        lose: Callable[[Sequence[Job], str], None],
    ) -> None:
        self.problem: str | None = "no job has been claimed yet"
        """Why jobs are not being claimed, in one line; None while they are."""
        self._asked: float | None = None
        self._store = store
        self._pool = pool
        self._crew = crew
        self._fairness = fairness
        self._gate = gate
        self._clock = clock
        self._work = work
        self._onlookers = onlookers
        self._reuse = reuse
        self._hand_back = hand_back
        self._answered = answered
        self._postpone = postpone
        self._expire = expire
        self._deadlines = deadlines
        self._lose = lose
        self._absent = Absent(library, tasks, Offers(library, functions).obstacle, self._send, lose)
        self.done = anyio.Event()
        self._stopping = False
        self._claimed_at = 0.0
        self._probed = -math.inf
        self._log = get_logger()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Dispatch until stopped."""
        self.problem = None
        task_status.started()
        try:
            while not self._stopping:
                try:
                    self._asked = self._clock.monotonic()
                    await self._dispatch()
                    pause = await self._pause()
                    self.problem = None
                except StoreUnavailable as error:
                    self.problem = str(error)
                    self._log.warning("store.unavailable", error=str(error))
                    pause = _TRY_AGAIN
                finally:
                    self._asked = None
                await self._work.wait(pause)
        finally:
            self.problem = "the scheduler is stopping"
            self.done.set()

    async def stop(self) -> None:
        """Start no more jobs; returns when the last that were claimed have been sent."""
        self._stopping = True
        self._work.ring()
        await self.done.wait()
        self._hand_back([*self._absent.drop(), *self._pool.disperse()])

    def silent(self) -> float:
        """Return for how many seconds the store has not answered a claim that is under way; 0 when none is."""
        return 0.0 if self._asked is None else self._clock.monotonic() - self._asked

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs that wait for their module, or for another's run."""
        yield from self._absent.jobs()
        yield from self._reuse.jobs()

    def drop(self, ids: Collection[str]) -> list[Job]:
        """Strike off those of the jobs that wait for their module, or for another's run, and return them."""
        return [*self._absent.drop(ids), *self._reuse.drop(ids)]

    def take(self, jobs: Sequence[Job]) -> None:
        """Start jobs that waited for another's run, as many as there is room for; the others are claimed again.

        So are those that would wait for them.
        """
        room = 0 if self._stopping else max(0, self._pool.room())
        for job in jobs[room:]:
            self._hand_back([job, *self._reuse.disband(job)])
        self._send(self._absent.sort_out(jobs[:room]))

    async def _dispatch(self) -> None:
        self._give(self._pool.resume(self._clock.wall()))
        while (room := self._pool.room() - len(self._absent)) > 0 and not self._stopping:
            if self._pool.is_crowded:
                if self._clock.monotonic() < self._probed + _PROBE_EVERY:
                    return
                self._probed = self._clock.monotonic()
            self._claimed_at = self._clock.wall()
            wanted, sated = self._pool.wants()
            wanted = min(wanted, room)
            if not wanted:
                return
            jobs = await self._store.claim(wanted, self._claimed_at, sated)
            if jobs:
                self._assign(jobs)
            if len(jobs) < wanted:
                return

    def _assign(self, jobs: Sequence[Job]) -> None:
        in_time: list[Job] = []
        late: list[Job] = []
        for job in jobs:
            self._gate.leave(job.tenant, 1)
            self._fairness.started(job.order, job.tenant)
            if job.deadline is not None:
                self._deadlines.started(job)
            is_late = job.deadline is not None and job.deadline <= self._claimed_at
            (late if is_late else in_time).append(job)
        if late:
            self._expire(late)
        freed = self._reuse.admit(in_time, self._clock.monotonic())
        if freed.answered:
            self._answered(freed.answered)
        self._send(self._absent.sort_out(freed.run))

    def _send(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        if not self._pool.room():
            # The workers have died while the store was claiming.
            self._hand_back(jobs)
            return
        self._give(self._pool.assign(jobs, self._clock.wall()))
        if impossible := self._pool.impossible():
            # They were accepted where workers have more.
            most = format_size(self._pool.memory.size)
            self._lose(
                impossible, f"lost: it can come to more memory than a worker has here, {most} (scheduler.memory)"
            )
        if over := self._pool.overflow():
            self._postpone(over)

    def _give(self, sendings: Sequence[Sending]) -> None:
        if sendings:
            self._crew.send(sendings)
            self._crew.send(self._onlookers.look())
        self._crew.want_solo(lambda: self._pool.alone)

    async def _pause(self) -> float:
        if not self._has_room():
            return _LOOK_AGAIN  # whoever makes room rings
        if self._pool.is_crowded and self._store.counts()["queued"]:
            return _PROBE_EVERY
        # Asked as of the last claim: what has become due since then has not been claimed, and is not to be slept over.
        due = await self._store.next_due(self._claimed_at)
        return _LOOK_AGAIN if due is None else min(_LOOK_AGAIN, max(0.0, due - self._clock.wall()))

    def _has_room(self) -> bool:
        return self._pool.room() > len(self._absent)
