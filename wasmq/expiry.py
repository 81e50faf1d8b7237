"""The loop that ends jobs whose deadlines pass while they wait; those that run are ended by their timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmq.bell import Bell
from wasmq.deadlines import LATE
from wasmq.errors import StoreUnavailable
from wasmq.job import Outcome
from wasmq.logs import get_logger
from wasmq.settle import Late

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import TaskStatus

    from wasmq.cancelling import Canceller
    from wasmq.clock import Clock
    from wasmq.deadlines import Deadlines
    from wasmq.dispatch import Dispatcher
    from wasmq.job import Job
    from wasmq.pool.pool import Pool
    from wasmq.settle import Settler
    from wasmq.store import Store

_LOOK_AGAIN = 60.0  # seconds after which the loop looks at the clock even if no deadline is near
_TRY_AGAIN = 1.0  # seconds until a store that could not end a job is asked again


class Expiry:
    """Watches the deadlines of jobs that are accepted here. `engine` is what outcomes of jobs that never ran name."""

    def __init__(
        self,
        *,
        store: Store,
        pool: Pool,
        dispatcher: Dispatcher,
        settler: Settler,
        canceller: Canceller,
        deadlines: Deadlines,
        clock: Clock,
        engine: str,
    ) -> None:
        self._store = store
        self._pool = pool
        self._dispatcher = dispatcher
        self._settler = settler
        self._canceller = canceller
        self._deadlines = deadlines
        self._clock = clock
        self._engine = engine
        self._bell = Bell()
        self._log = get_logger()

    def watch(self, jobs: Sequence[Job]) -> None:
        """Watch those of the jobs that have a deadline."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        for job in jobs:
            if self._deadlines.watch(job, now=now, wall=wall):
                self._bell.ring()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """End late jobs until cancelled."""
        task_status.started()
        while True:
            now = self._clock.monotonic()
            at = self._deadlines.next()
            if at is None or at > now:
                await self._bell.wait(_LOOK_AGAIN if at is None else min(_LOOK_AGAIN, at - now))
                continue
            late = self._deadlines.over(now)
            try:
                await self._end(late)
            except StoreUnavailable as error:
                self._log.warning("store.unavailable", error=str(error))
                self._deadlines.again(late, self._clock.monotonic() + _TRY_AGAIN)

    async def _end(self, ids: Sequence[str]) -> None:
        """End those of the jobs that have not started: on their way to a worker, or still in the store."""
        self._settler.add([Late(job) for job in (*self._pool.drop_waiting(ids), *self._dispatcher.drop(ids))])
        queued = []
        for job_id in ids:
            record = await self._store.get(job_id)
            if record is not None and record.state == "queued":
                queued.append(job_id)
        if queued:
            await self._canceller.cancel_queued(queued, Outcome(status="timed_out", error=LATE, engine=self._engine))
