"""Cancelling jobs, wherever they are: queued in the store, on their way to a worker, or with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wasmq.job import Outcome
from wasmq.settle import CANCELLED, HandedBack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
        found: dict[str, Cancellation] = {}
        for attempts, jobs in await self._by_attempts(ids, known):
            found |= await self._finish(jobs, msgspec.structs.replace(outcome, attempts=attempts))
            # At once: should such a job come back from a dead worker meanwhile, it must be known by then.
            self.cancel_here([job_id for job_id in jobs if found[job_id] == "running"])
        return [found[job_id] for job_id in ids]

    def cancel_here(self, ids: Sequence[str]) -> None:
        """Cancel jobs that run here."""
        self._settler.unwanted(ids)
        self._crew.send(self._pool.cancel(ids))
        waiting = [*self._pool.drop_waiting(ids), *self._dispatcher.drop(ids)]
        self._settler.add([HandedBack(job) for job in waiting])

    async def cancel_queued(self, ids: Sequence[str], outcome: Outcome) -> None:
        """Finish those of the jobs that are queued, and tell everyone.

        Their outcomes say how often they had been started before.
        """
        for attempts, jobs in await self._by_attempts(ids, ()):
            await self._finish(jobs, msgspec.structs.replace(outcome, attempts=attempts))

    async def _by_attempts(self, ids: Sequence[str], known: Iterable[Job]) -> list[tuple[int, dict[str, Job | None]]]:
        """Return the jobs, None for one that there is not, in groups of those that were started equally often."""
        # Read before: a short history may have lost them by the time they are finished.
        jobs: dict[str, Job | None] = {job.id: job for job in known}
        groups: dict[int, dict[str, Job | None]] = {}
        for job_id in dict.fromkeys(ids):
            job = jobs.get(job_id)
            if job is None and (record := await self._store.get(job_id)) is not None:
                job = record.job
            groups.setdefault(0 if job is None else job.attempt - job.returned, {})[job_id] = job
        return list(groups.items())

    async def _finish(self, jobs: Mapping[str, Job | None], outcome: Outcome) -> dict[str, Cancellation]:
        found = dict(zip(jobs, await self._store.cancel(list(jobs), outcome), strict=True))
        for job_id, job in jobs.items():
            if found[job_id] == "cancelled" and job is not None:
                await self._settler.finish_queued(job, outcome)
        return found
