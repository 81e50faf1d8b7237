"""A store that fails on demand: in front of a real one, at the seam that every store has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from wasmq.errors import StoreUnavailable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from wasmq.job import Job, Outcome
    from wasmq.store import Cancellation, Finished, Store

Fault: TypeAlias = Literal["raises", "is slow", "loses answers"]
_SLOW = 0.2  # seconds that a slow operation takes at most
_ASKING = frozenset({"get", "list", "next_due", "balance", "credit", "refuel"})


class FaultyStore:
    """Passes on what it is told, until told to `fail`. `recorded` has each outcome that was recorded, by job.

    An answer that it loses is told when it is asked again, as the contract of a store has it: an outcome of this very
    attempt counts as recorded, and what a claim took is queued again, its start uncounted.
    """

    def __init__(self, store: Store, choice: random.Random) -> None:
        self.recorded: dict[str, list[Outcome]] = {}
        self.lost_puts = 0
        """Jobs that were put when nobody was told."""
        self.faults = 0
        """Operations that did not go as they should."""
        self._store = store
        self._choice = choice
        self._fault: Fault | None = None
        self._left = 0
        self._untold: set[tuple[str, int]] = set()
        self._cancelled: set[str] = set()

    def fail(self, fault: Fault, times: int) -> None:
        """Fail so often from now on."""
        self._fault, self._left = fault, times

    def heal(self) -> None:
        """Fail no more."""
        self._left = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._asking(found) if name in _ASKING else found

    async def put(self, jobs: Sequence[Job]) -> list[Job]:
        """See `Store.put`."""
        fault = await self._before()
        stored = await self._store.put(jobs)
        if fault == "loses answers":
            self.lost_puts += sum(job.id == kept.id for job, kept in zip(jobs, stored, strict=True))
            raise _away("put")
        return stored

    async def claim(self, limit: int, now: float, passing: Sequence[str] = ()) -> list[Job]:
        """See `Store.claim`."""
        fault = await self._before()
        claimed = await self._store.claim(limit, now, passing)
        if fault == "loses answers":
            await self._store.release(claimed, charged=False, due=now)
            raise _away("claim")
        return claimed

    async def finish(self, ends: Sequence[Finished]) -> list[bool]:
        """See `Store.finish`."""
        fault = await self._before()
        recorded = await self._store.finish(ends)
        for end, is_recorded in zip(ends, recorded, strict=True):
            if is_recorded:
                self.recorded.setdefault(end.id, []).append(end.outcome)
        if fault == "loses answers":
            self._untold |= {(end.id, end.attempt) for end, told in zip(ends, recorded, strict=True) if told}
            raise _away("finish")
        told = []
        for end, is_recorded in zip(ends, recorded, strict=True):
            told.append(is_recorded or (end.id, end.attempt) in self._untold)
            self._untold.discard((end.id, end.attempt))
        return told

    async def release(self, jobs: Sequence[Job], *, charged: bool, due: float) -> None:
        """See `Store.release`."""
        fault = await self._before()
        await self._store.release(jobs, charged=charged, due=due)
        if fault == "loses answers":
            raise _away("release")

    async def cancel(self, ids: Sequence[str], outcome: Outcome) -> list[Cancellation]:
        """See `Store.cancel`."""
        fault = await self._before()
        found = await self._store.cancel(ids, outcome)
        ended = {job_id for job_id, what in zip(ids, found, strict=True) if what == "cancelled"}
        for job_id in ended:
            self.recorded.setdefault(job_id, []).append(outcome)
        if fault == "loses answers":
            self._cancelled |= ended
            raise _away("cancel")
        told: list[Cancellation] = [
            "cancelled" if each in self._cancelled else what for each, what in zip(ids, found, strict=True)
        ]
        self._cancelled -= set(ids)
        return told

    def _asking(self, work: Callable[..., Any]) -> Callable[..., Any]:
        async def ask(*args: Any, **options: Any) -> Any:
            await self._before()
            return await work(*args, **options)

        return ask

    async def _before(self) -> Fault | None:
        """Fail before anything is done, or say how to fail afterwards."""
        if self._left <= 0:
            return None
        self._left -= 1
        self.faults += 1
        if self._fault == "is slow":
            await asyncio.sleep(self._choice.uniform(0.0, _SLOW))
        elif self._fault == "raises":
            raise _away("it")
        return self._fault


def _away(what: str) -> StoreUnavailable:
    return StoreUnavailable(f"the store is away: {what} was not answered")
