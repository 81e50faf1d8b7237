"""Who starts next: the ready jobs, those that wait for their time, and how many there are. In memory, without I/O.

Stores that have one owner decide here and record what was decided. One thread at a time may change a queue; `queued`,
`running`, `earliest` and `due` may be read by any.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq.job import Job, State

_COMPACT_ABOVE = 1_000  # items that a heap may hold beyond twice the queued jobs before the stale ones are swept out


class Entry:
    """One unfinished job. `age` orders jobs by when they were put; `ready_at` is when it may start."""

    __slots__ = ("age", "job", "ready_at", "state", "ticket")

    def __init__(self, job: Job, age: int, ready_at: float) -> None:
        self.job = job
        self.age = age
        self.ready_at = ready_at
        self.state: State = "queued"
        self.ticket = 0


EntryT = TypeVar("EntryT", bound=Entry)


def _always(_job: Job, _now: float) -> None:
    """Let every job start."""


class Queue(Generic[EntryT]):
    """Two heaps of jobs, by what goes first and by when they are due, and a third for the longest wait.

    Heaps are not searched: an item counts only while it has its entry's ticket, and the others are dropped when they
    come up.
    """

    def __init__(self, start: Callable[[Job, float], float | None] = _always) -> None:
        self.queued = 0
        self.running = 0
        self.earliest: float | None = None
        """When the job that waits longest could start, or will be able to."""
        self.due: float | None = None
        """When the next of those becomes due that waited for their time when last looked at."""
        self._ticket = 0
        self._ready: list[tuple[int, float, int, int, EntryT]] = []
        self._delayed: list[tuple[float, int, EntryT]] = []
        self._waits: list[tuple[float, int, EntryT]] = []
        self._start = start
        self._held: dict[str, tuple[float, list[tuple[int, float, int, int, EntryT]]]] = {}

    def enter(self, entry: EntryT, now: float) -> None:
        """Count a job that is queued or running, and line it up if it is queued."""
        if entry.state == "running":
            self.running += 1
            return
        self.queued += 1
        self._ticket = entry.ticket = self._ticket + 1
        heapq.heappush(self._waits, (entry.ready_at, entry.ticket, entry))
        self._line_up(entry, now)
        self._tidy()

    def leave(self, entry: EntryT) -> None:
        """Forget a job that is queued or running."""
        if entry.state == "running":
            self.running -= 1
            return
        self.queued -= 1
        entry.ticket = 0
        self._tidy()

    def claim(self, limit: int, now: float) -> list[EntryT]:
        """Take up to `limit` jobs that are due, by priority, then order, then age; each is running its next attempt."""
        self._wake(now)
        for tenant in [tenant for tenant, (until, _) in self._held.items() if until <= now]:
            self.free(tenant)
        claimed: list[EntryT] = []
        ready = self._ready
        while ready and len(claimed) < limit:
            item = heapq.heappop(ready)
            *_, ticket, entry = item
            if entry.ticket == ticket:
                tenant = entry.job.tenant
                if tenant in self._held:
                    self._held[tenant][1].append(item)
                    continue
                until = self._start(entry.job, now)
                if until is not None:
                    self._held[tenant] = (until, [item])
                    continue
                entry.ticket = 0
                entry.state = "running"
                entry.job = msgspec.structs.replace(entry.job, attempt=entry.job.attempt + 1)
                claimed.append(entry)
        self.queued -= len(claimed)
        self.running += len(claimed)
        self._tidy()
        return claimed

    def release(self, entry: EntryT, *, charged: bool, due: float, now: float) -> None:
        """Line a running job up again; uncharged, the start just made does not count."""
        self.leave(entry)
        if not charged:
            entry.job = msgspec.structs.replace(entry.job, returned=entry.job.returned + 1)
        entry.state = "queued"
        entry.ready_at = due
        self.enter(entry, now)

    def free(self, tenant: str) -> None:
        """Look again at a tenant's jobs that have been held."""
        for item in self._held.pop(tenant, (0.0, []))[1]:
            heapq.heappush(self._ready, item)

    def next_due(self, now: float) -> float | None:
        """Return when the next job that waits for its time becomes due, or None."""
        self._wake(now)
        self._tidy()
        return self.due

    def longest_wait(self, now: float) -> float:
        """Return for how many seconds the job that waits longest could have started; 0 when none waits."""
        earliest = self.earliest
        return 0.0 if earliest is None else max(0.0, now - earliest)

    def _line_up(self, entry: EntryT, now: float) -> None:
        if entry.ready_at > now:
            heapq.heappush(self._delayed, (entry.ready_at, entry.ticket, entry))
        else:
            job = entry.job
            heapq.heappush(self._ready, (-job.priority, job.order, entry.age, entry.ticket, entry))

    def _wake(self, now: float) -> None:
        """Move the jobs whose time has come to the ready ones."""
        while self._delayed and self._delayed[0][0] <= now:
            _, ticket, entry = heapq.heappop(self._delayed)
            if entry.ticket == ticket:
                self._line_up(entry, now)

    def _tidy(self) -> None:
        """Let no stale item stand first, nor many anywhere."""
        for heap in (self._waits, self._delayed):
            while heap and heap[0][2].ticket != heap[0][1]:
                heapq.heappop(heap)
        self.earliest = self._waits[0][0] if self._waits else None
        self.due = self._delayed[0][0] if self._delayed else None
        for until, items in self._held.values():
            if items and until != math.inf:
                self.due = until if self.due is None else min(self.due, until)
        most = 2 * self.queued + _COMPACT_ABOVE
        if len(self._waits) > most:
            self._waits = _live(self._waits)
        if len(self._delayed) > most:
            self._delayed = _live(self._delayed)
        if len(self._ready) > most:
            self._ready = [item for item in self._ready if item[4].ticket == item[3]]
            heapq.heapify(self._ready)


def _live(heap: list[tuple[float, int, EntryT]]) -> list[tuple[float, int, EntryT]]:
    kept = [item for item in heap if item[2].ticket == item[1]]
    heapq.heapify(kept)
    return kept
