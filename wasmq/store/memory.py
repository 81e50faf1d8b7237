"""Jobs in this process's memory: the fastest store, gone with the process."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from wasmq.ledger import Wait
from wasmq.store.accounts import Accounts
from wasmq.store.loaded import Loaded
from wasmq.store.protocol import JobRecord, check_same
from wasmq.store.queue import Entry, Queue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wasmq.clock import Clock
    from wasmq.config import StoreConfig
    from wasmq.job import Job, Outcome, State, Status
    from wasmq.ledger import Balance, Terms
    from wasmq.store.protocol import Cancellation, Finished


class _Known(Entry):
    __slots__ = ("finished_at", "outcome")

    def __init__(self, job: Job, age: int) -> None:
        super().__init__(job, age, job.due)
        self.outcome: Outcome | None = None
        self.finished_at = 0.0

    def record(self) -> JobRecord:
        return JobRecord.of(self.job, self.state, self.outcome)


class MemoryStore:
    """A `Store` of dictionaries and a queue."""

    durable = False

    def __init__(self, config: StoreConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._jobs: dict[str, _Known] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._accounts = Accounts({})
        self._queue: Queue[_Known] = Queue()
        self._history: OrderedDict[str, _Known] = OrderedDict()
        self._sequence = 0
        self._fired: dict[str, float] = {}
        self._loaded = Loaded()

    async def open(self) -> list[Job]:
        """Nothing to do, and nothing there."""
        return []

    async def close(self) -> None:
        """Nothing to do."""

    def configure(self, config: StoreConfig) -> None:
        """See `Store.configure`."""
        self._config = config

    def keep_accounts(self, terms: Mapping[str, Terms]) -> None:
        """See `Store.keep_accounts`."""
        self._accounts = Accounts(terms)
        self._queue = Queue(self._accounts.start)

    async def orphans(self, now: float) -> list[Job]:
        """Nobody else can have left anything here."""
        return []

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
            self._sequence += 1
            entry = self._jobs[job.id] = _Known(job, self._sequence)
            self._queue.enter(entry, now)
            stored.append(job)
        return stored

    async def claim(self, limit: int, now: float, passing: Sequence[str] = ()) -> list[Job]:
        """See `Store.claim`."""
        claimed = [entry.job for entry in self._queue.claim(limit, now, passing)]
        self._accounts.keep()
        return claimed

    async def finish(self, ends: Sequence[Finished]) -> list[bool]:
        """See `Store.finish`."""
        recorded = []
        now = self._clock.wall()
        for end in ends:
            entry = self._jobs.get(end.id)
            current = entry is not None and entry.state == "running" and entry.job.attempt == end.attempt
            if entry is not None and current:
                self._settle(entry.job, end.outcome.fuel_used)
                self._queue.shift(entry.job.tenant, end.shift)
                self._end(entry, end.outcome, now)
            recorded.append(current)
        self._prune(now)
        return recorded

    async def release(self, jobs: Sequence[Job], *, charged: bool, due: float) -> None:
        """See `Store.release`."""
        now = self._clock.wall()
        for job in jobs:
            entry = self._jobs.get(job.id)
            if entry is not None and entry.state == "running" and entry.job.attempt == job.attempt:
                self._settle(entry.job, 0)
                self._queue.release(entry, charged=charged, due=due, now=now)

    async def cancel(self, ids: Sequence[str], outcome: Outcome) -> list[Cancellation]:
        """See `Store.cancel`."""
        found: list[Cancellation] = []
        now = self._clock.wall()
        for job_id in ids:
            entry = self._jobs.get(job_id)
            if entry is None:
                found.append("unknown")
            elif entry.state == "queued":
                self._end(entry, outcome, now)
                found.append("cancelled")
            else:
                found.append("running" if entry.state == "running" else "finished")
        self._prune(now)
        return found

    async def refuel(self, id: str, attempt: int, fuel: int, now: float) -> Job | Wait | None:  # noqa: A002
        """See `Store.refuel`."""
        entry = self._jobs.get(id)
        if entry is None or entry.state != "running" or entry.job.attempt != attempt:
            return None
        job = self._accounts.refuel(entry.job, fuel, now)
        self._accounts.keep()
        if not isinstance(job, Wait):
            entry.job = job
        return job

    async def balance(self, tenant: str) -> Balance:
        """See `Store.balance`."""
        return self._accounts.balance(tenant)

    async def credit(self, tenant: str, fuel: int, now: float, key: str | None = None) -> bool:
        """See `Store.credit`."""
        self._accounts.forget_credits(now - self._config.history_age)
        credited = self._accounts.credit(tenant, fuel, now, key)
        self._accounts.keep()
        self._queue.free(tenant)
        return credited

    def balances(self) -> Mapping[str, Balance]:
        """See `Store.balances`."""
        return self._accounts.ledger.balances

    async def get(self, id: str) -> JobRecord | None:  # noqa: A002
        """See `Store.get`."""
        entry = self._jobs.get(id)
        return entry.record() if entry is not None else None

    async def list(
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

    async def next_due(self, now: float) -> float | None:
        """See `Store.next_due`."""
        return self._queue.next_due(now)

    async def fired(self, name: str) -> float | None:
        """See `Store.fired`."""
        return self._fired.get(name)

    async def note_fired(self, name: str, at: float) -> None:
        """See `Store.note_fired`."""
        self._fired[name] = max(at, self._fired.get(name, at))

    async def loaded(self, tenant: str, digests: Sequence[str]) -> set[str]:
        """See `Store.loaded`."""
        return self._loaded.of(tenant, digests)

    async def note_loaded(self, tenant: str, digest: str, most: int) -> None:
        """See `Store.note_loaded`."""
        self._loaded.note(tenant, digest, most)

    def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        return {"queued": self._queue.queued, "running": self._queue.running}

    def oldest_ready(self, now: float) -> float:
        """See `Store.oldest_ready`."""
        return self._queue.longest_wait(now)

    def _settle(self, job: Job, used: int) -> None:
        if self._accounts.end(job, used):
            self._accounts.keep()
            self._queue.free(job.tenant)

    def _end(self, entry: _Known, outcome: Outcome, now: float) -> None:
        self._queue.leave(entry)
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
