"""Jobs in this process's memory: the fastest store, gone with the process."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from wasmq.store.protocol import JobRecord, check_same

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmq.clock import Clock
    from wasmq.config import StoreConfig
    from wasmq.job import Job, Outcome, State, Status
    from wasmq.store.protocol import Cancellation, Finished, Loop

_COMPACT_ABOVE = 1_000  # entries of cancelled jobs that a heap may hold before they are swept out


class _Entry:
    __slots__ = ("finished_at", "job", "outcome", "ready_at", "returned", "state")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.state: State = "queued"
        self.outcome: Outcome | None = None
        self.returned = 0
        self.ready_at = job.due
        self.finished_at = 0.0

    def record(self) -> JobRecord:
        return JobRecord(self.job, self.state, self.job.attempt - self.returned, self.outcome)


class MemoryStore:
    """A `Store` of dictionaries and two heaps."""

    durable = False

    def __init__(self, config: StoreConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._jobs: dict[str, _Entry] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._ready: list[tuple[int, float, int, _Entry]] = []
        self._delayed: list[tuple[float, int, _Entry]] = []
        self._history: OrderedDict[str, _Entry] = OrderedDict()
        self._waiting: dict[str, _Entry] = {}
        self._running = 0
        self._queued = 0
        self._sequence = 0

    async def open(self) -> list[Job]:
        """Nothing to do, and nothing there."""
        return []

    async def close(self) -> None:
        """Nothing to do."""

    def loops(self) -> Sequence[Loop]:
        """See `Store.loops`."""
        return ()

    async def put(self, jobs: Sequence[Job]) -> list[Job]:
        """See `Store.put`."""
        batch: dict[tuple[str, str], Job] = {}
        for job in jobs:
            if job.key is not None:
                known = self._keys.get((job.tenant, job.key))
                first = batch.setdefault((job.tenant, job.key), job) if known is None else self._jobs[known].job
                check_same(job, first)
        stored = []
        now = self._clock.wall()
        for job in jobs:
            if job.key is not None:
                known = self._keys.get((job.tenant, job.key))
                if known is not None:
                    stored.append(self._jobs[known].job)
                    continue
                self._keys[job.tenant, job.key] = job.id
            entry = self._jobs[job.id] = _Entry(job)
            self._queued += 1
            self._enqueue(entry, now)
            stored.append(job)
        return stored

    async def claim(self, limit: int, now: float) -> list[Job]:
        """See `Store.claim`."""
        self._wake(now)
        claimed: list[Job] = []
        ready = self._ready
        while ready and len(claimed) < limit:
            entry = heapq.heappop(ready)[3]
            if entry.state != "queued":
                continue
            job = entry.job
            entry.state = "running"
            entry.job = job = _next_attempt(job)
            del self._waiting[job.id]
            claimed.append(job)
        self._running += len(claimed)
        self._queued -= len(claimed)
        return claimed

    async def finish(self, ends: Sequence[Finished]) -> list[bool]:
        """See `Store.finish`."""
        recorded = []
        now = self._clock.wall()
        for end in ends:
            entry = self._jobs.get(end.id)
            current = entry is not None and entry.state == "running" and entry.job.attempt == end.attempt
            if entry is not None and current:
                self._running -= 1
                self._end(entry, end.outcome, now)
            recorded.append(current)
        self._prune(now)
        return recorded

    async def release(self, jobs: Sequence[Job], *, charged: bool, due: float) -> None:
        """See `Store.release`."""
        now = self._clock.wall()
        for job in jobs:
            entry = self._jobs.get(job.id)
            if entry is None or entry.state != "running" or entry.job.attempt != job.attempt:
                continue
            if not charged:
                entry.returned += 1
                entry.job = msgspec.structs.replace(entry.job, returned=entry.returned)
            entry.state = "queued"
            entry.ready_at = due
            self._running -= 1
            self._queued += 1
            self._enqueue(entry, now)

    async def cancel(self, ids: Sequence[str], outcome: Outcome) -> list[Cancellation]:
        """See `Store.cancel`."""
        found: list[Cancellation] = []
        now = self._clock.wall()
        for job_id in ids:
            entry = self._jobs.get(job_id)
            if entry is None:
                found.append("unknown")
            elif entry.state == "queued":
                self._queued -= 1
                self._waiting.pop(job_id, None)
                self._end(entry, outcome, now)
                found.append("cancelled")
            else:
                found.append("running" if entry.state == "running" else "finished")
        self._compact()
        self._prune(now)
        return found

    async def get(self, id: str) -> JobRecord | None:  # noqa: A002
        """See `Store.get`."""
        entry = self._jobs.get(id)
        return entry.record() if entry is not None else None

    async def next_due(self, now: float) -> float | None:
        """See `Store.next_due`."""
        self._wake(now)
        while self._delayed and self._delayed[0][2].state != "queued":
            heapq.heappop(self._delayed)
        return self._delayed[0][0] if self._delayed else None

    async def orphans(self, now: float) -> list[Job]:
        """Nobody else can have left anything here."""
        return []

    async def tend(self) -> None:
        """See `Store.tend`; here only age makes it necessary."""
        self._prune(self._clock.wall())

    def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        return {"queued": self._queued, "running": self._running}

    def oldest_ready(self, now: float) -> float:
        """See `Store.oldest_ready`."""
        oldest = min((entry.ready_at for entry in self._waiting.values()), default=now)
        # Those whose time has come since the last claim; only read here, for a scrape may come from another thread.
        due = min((at for at, _, entry in self._delayed if entry.state == "queued"), default=now)
        return max(0.0, now - min(oldest, due))

    def _enqueue(self, entry: _Entry, now: float) -> None:
        self._sequence += 1
        if entry.ready_at > now:
            heapq.heappush(self._delayed, (entry.ready_at, self._sequence, entry))
            return
        job = entry.job
        self._waiting[job.id] = entry
        heapq.heappush(self._ready, (-job.priority, job.order, self._sequence, entry))

    def _wake(self, now: float) -> None:
        """Move the jobs whose time has come to the ready ones."""
        while self._delayed and self._delayed[0][0] <= now:
            entry = heapq.heappop(self._delayed)[2]
            if entry.state == "queued":
                self._enqueue(entry, now)

    def _end(self, entry: _Entry, outcome: Outcome, now: float) -> None:
        entry.state = "finished"
        entry.outcome = outcome
        entry.finished_at = now
        self._history[entry.job.id] = entry

    def _prune(self, now: float) -> None:
        """Forget finished jobs beyond the number and age that are kept, keys included."""
        history, config = self._history, self._config
        while history:
            entry = next(iter(history.values()))
            if len(history) <= config.history and now - entry.finished_at <= config.history_age:
                return
            job = entry.job
            del history[job.id]
            del self._jobs[job.id]
            if job.key is not None:
                del self._keys[job.tenant, job.key]

    def _compact(self) -> None:
        """Sweep cancelled jobs out of the heaps when they outnumber the others."""
        if len(self._ready) > 2 * self._queued + _COMPACT_ABOVE:
            self._ready = [item for item in self._ready if item[3].state == "queued"]
            heapq.heapify(self._ready)
        if len(self._delayed) > 2 * self._queued + _COMPACT_ABOVE:
            self._delayed = [item for item in self._delayed if item[2].state == "queued"]
            heapq.heapify(self._delayed)

    async def list(  # last: it hides the type of that name
        self, *, tenant: str | None, status: State | Status | None, after: str | None, limit: int
    ) -> list[JobRecord]:
        """See `Store.list`."""
        found: list[JobRecord] = []
        behind = after is None
        for job_id in reversed(self._jobs):
            if not behind:
                behind = job_id == after
                continue
            entry = self._jobs[job_id]
            if tenant is not None and entry.job.tenant != tenant:
                continue
            if (
                status is not None
                and status != entry.state
                and (entry.outcome is None or status != entry.outcome.status)
            ):
                continue
            found.append(entry.record())
            if len(found) >= limit:
                break
        return found


def _next_attempt(job: Job) -> Job:
    return msgspec.structs.replace(job, attempt=job.attempt + 1)
