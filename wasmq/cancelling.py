"""Cancelling jobs, wherever they are: queued in the store, on their way to a worker, or with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wasmq.job import Outcome
from wasmq.settle import CANCELLED, HandedBack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wasmq.dispatch import Dispatcher
    from wasmq.job import Job
    from wasmq.pool.crew import Crew
    from wasmq.pool.pool import Pool
    from wasmq.settle import Settler
    from wasmq.store import Cancellation, Store


class Canceller:
    """Cancels for everyone who may. `engine` is what outcomes of jobs that never ran name."""

    def __init__(
        self, *, store: Store, pool: Pool, crew: Crew, settler: Settler, dispatcher: Dispatcher, engine: str
    ) -> None:
        self._store = store
        self._pool = pool
        self._crew = crew
        self._settler = settler
        self._dispatcher = dispatcher
        self._engine = engine

    async def cancel(self, ids: Sequence[str], known: Iterable[Job] = ()) -> list[Cancellation]:
        """Cancel jobs, queued or running; `known` are those that the store may not show yet."""
        outcome = Outcome(status="cancelled", error=CANCELLED, engine=self._engine)
        found = await self.cancel_queued(ids, outcome, known)
        self.cancel_here([job_id for job_id, what in zip(ids, found, strict=True) if what == "running"])
        return found

    def cancel_here(self, ids: Sequence[str]) -> None:
        """Cancel jobs that run here."""
        self._settler.unwanted(ids)
        self._crew.send(self._pool.cancel(ids))
        waiting = [*self._pool.drop_waiting(ids), *self._dispatcher.drop(ids)]
        self._settler.add([HandedBack(job) for job in waiting])

    async def cancel_queued(
        self, ids: Sequence[str], outcome: Outcome, known: Iterable[Job] = ()
    ) -> list[Cancellation]:
        """Finish those of the jobs that are queued, and tell everyone; returns what became of each.

        Their outcomes say how often they had been started before.
        """
        # Read before: a short history may have lost them by the time they are finished.
        jobs = {job.id: job for job in known}
        for job_id in ids:
            if job_id not in jobs and (record := await self._store.get(job_id)) is not None:
                jobs[job_id] = record.job
        by_attempts: dict[int, list[str]] = {}
        for job_id in dict.fromkeys(ids):
            job = jobs.get(job_id)
            by_attempts.setdefault(0 if job is None else job.attempt - job.returned, []).append(job_id)
        found: dict[str, Cancellation] = {}
        for attempts, group in by_attempts.items():
            end = msgspec.structs.replace(outcome, attempts=attempts)
            found |= zip(group, await self._store.cancel(group, end), strict=True)
            for job_id in group:
                if found[job_id] == "cancelled" and job_id in jobs:
                    await self._settler.finish_queued(jobs[job_id], end)
        return [found[job_id] for job_id in ids]
