"""The watch loop: what other daemons do to the jobs of this one.

A job that was submitted here may run elsewhere, and its outcome be recorded there; one that runs here may be cancelled
or refuelled from elsewhere. All that is looked up in the store when another daemon gives a hint, and every second
without one.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import anyio

from wasmq.errors import StoreUnavailable, UnknownJob

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from anyio.abc import TaskStatus

    from wasmq.bell import Bell
    from wasmq.clock import Clock
    from wasmq.handles import JobHandle
    from wasmq.job import Job, Outcome
    from wasmq.store import SharedStore

_EVERY: Final = 1.0  # seconds between two looks without a hint
_APART: Final = 0.03  # seconds between two looks with hints
_MOST: Final = 1_000  # jobs looked up at once; the rest has its turn in the next looks


class Watcher:
    """Looks for the outcomes of those `handles` whose jobs do not run here, and for jobs that are to be cancelled here.

    `refuel` does the same for jobs that run here and were refuelled.

    A handle whose job the store has not known for `patience` seconds is abandoned: its outcome has been forgotten.
    """

    def __init__(
        self,
        *,
        store: SharedStore,
        handles: dict[str, JobHandle],
        runs_here: Callable[[str], bool],
        ended: Callable[[Job, Outcome], None],
        cancel: Callable[[Sequence[str]], None],
        refuel: Callable[[], Awaitable[None]],
        patience: float,
        clock: Clock,
        work: Bell,
    ) -> None:
        self._store = store
        self._handles = handles
        self._runs_here = runs_here
        self._ended = ended
        self._cancel = cancel
        self._refuel = refuel
        self._patience = patience
        self._clock = clock
        self._work = work
        self._round: Iterator[str] = iter(())
        self._missing: dict[str, float] = {}

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Look until cancelled."""
        task_status.started()
        while True:
            if await self._store.changed.wait(_EVERY):
                # It may have been a new job.
                self._work.ring()
            try:
                await self.look()
            except StoreUnavailable:
                await anyio.sleep(_EVERY)
            await anyio.sleep(_APART)

    async def look(self) -> None:
        """Look once. Raises `StoreUnavailable`."""
        wishes = await self._store.wishes()
        if wishes:
            self._cancel(wishes)
        await self._refuel()
        asked = [job_id for job_id in self._next_ids() if not self._runs_here(job_id)]
        if not asked:
            return
        fates = await self._store.fates(asked)
        for fate in fates:
            if fate.ended is not None:
                self._ended(*fate.ended)
        self._note_missing(asked, {fate.id for fate in fates})

    def _next_ids(self) -> list[str]:
        """Return the next of the handles' jobs; all of them in turn, however many there are."""
        ids = list(islice(self._round, _MOST))
        if len(ids) < _MOST:
            self._round = iter(list(self._handles))
            ids = list(dict.fromkeys([*ids, *islice(self._round, _MOST - len(ids))]))
        return [job_id for job_id in ids if job_id in self._handles]

    def _note_missing(self, asked: Sequence[str], known: set[str]) -> None:
        now = self._clock.monotonic()
        for job_id in asked:
            if job_id in known or job_id not in self._handles:
                self._missing.pop(job_id, None)
            # Not there yet, as long as its `put` may be under way.
            elif now - self._missing.setdefault(job_id, now) > self._patience:
                del self._missing[job_id]
                handle = self._handles.pop(job_id)
                handle.abandon(UnknownJob(f"job {job_id}: its outcome has been pruned before it was seen here"))
