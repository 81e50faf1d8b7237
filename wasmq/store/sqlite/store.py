"""Jobs in one SQLite file with one owner: durable, without a server.

No SQL runs on the event loop's thread. What changes goes through the one writer, which commits in groups and syncs
each commit before it answers; what is only read has a connection and a thread of its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread

from wasmq.errors import ConfigError, StoreUnavailable
from wasmq.store.loaded import read_loaded
from wasmq.store.queue import Queue
from wasmq.store.records import encode_job, encode_outcome
from wasmq.store.sqlite.books import Books
from wasmq.store.sqlite.lock import OwnerLock
from wasmq.store.sqlite.operations import (
    AskBalance,
    Cancel,
    Claim,
    Credit,
    Finish,
    NextDue,
    NoteFired,
    NoteLoaded,
    Put,
    Refuel,
    Release,
)
from wasmq.store.sqlite.rows import record_of
from wasmq.store.sqlite.schema import connect, connect_to_read
from wasmq.store.sqlite.statements import RECORD, list_jobs
from wasmq.store.sqlite.writer import Writer

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from wasmq.clock import Clock
    from wasmq.config import StoreConfig
    from wasmq.job import Job, Outcome, State, Status
    from wasmq.ledger import Balance, Terms, Wait
    from wasmq.store.protocol import Cancellation, Finished, JobRecord
    from wasmq.store.sqlite.operations import Operation

_T = TypeVar("_T")


class SQLiteStore:
    """A `Store` in the file at `path`. Beside it are SQLite's own files and `-lock`, which names its owner."""

    durable = True

    def __init__(self, path: str | os.PathLike[str], config: StoreConfig, clock: Clock) -> None:
        self.path = Path(path)
        self._config = config
        self._clock = clock
        self._queue: Queue[Any] = Queue()
        self._orphans: list[Job] = []
        self._terms: Mapping[str, Terms] = {}
        self._writer: Writer | None = None
        self._opened = False

    async def open(self) -> list[Job]:
        """See `Store.open`."""
        queued = await anyio.to_thread.run_sync(self._open)
        self._writer = Writer(self._books.commit, self._books.tidy)
        self._writer.start()
        return list(queued)

    async def close(self) -> None:
        """Record what was asked before, and let the file go."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            await writer.stop()
        if self._opened:
            self._opened = False
            await anyio.to_thread.run_sync(self._close)

    def configure(self, config: StoreConfig) -> None:
        """See `Store.configure`."""
        self._config = config
        if self._opened:
            self._books.configure(config)

    def keep_accounts(self, terms: Mapping[str, Terms]) -> None:
        """See `Store.keep_accounts`."""
        self._terms = terms

    async def orphans(self, now: float) -> list[Job]:
        """See `Store.orphans`."""
        orphans, self._orphans = self._orphans, []
        return orphans

    async def put(self, jobs: Sequence[Job]) -> list[Job]:
        """See `Store.put`."""
        stored: list[Job] = await self._do(Put(jobs, [encode_job(job) for job in jobs], self._clock.wall()))
        return stored

    async def claim(self, limit: int, now: float, passing: Sequence[str] = ()) -> list[Job]:
        """See `Store.claim`."""
        claimed: list[Job] = await self._do(Claim(limit, now, passing))
        return claimed

    async def finish(self, ends: Sequence[Finished]) -> list[bool]:
        """See `Store.finish`."""
        records = [
            (end.id, end.attempt, end.outcome.status, encode_outcome(end.outcome), end.outcome.fuel_used, end.shift)
            for end in ends
        ]
        recorded: list[bool] = await self._do(Finish(records, self._clock.wall()))
        return recorded

    async def release(self, jobs: Sequence[Job], *, charged: bool, due: float) -> None:
        """See `Store.release`."""
        await self._do(Release(jobs, charged, due, self._clock.wall()))

    async def refuel(self, id: str, attempt: int, fuel: int, now: float) -> Job | Wait | None:  # noqa: A002
        """See `Store.refuel`."""
        refuelled: Job | Wait | None = await self._do(Refuel(id, attempt, fuel, now))
        return refuelled

    async def balance(self, tenant: str) -> Balance:
        """See `Store.balance`."""
        balance: Balance = await self._do(AskBalance(tenant))
        return balance

    async def credit(self, tenant: str, fuel: int, now: float, key: str | None = None) -> bool:
        """See `Store.credit`."""
        credited: bool = await self._do(Credit(tenant, fuel, now, key))
        return credited

    def balances(self) -> Mapping[str, Balance]:
        """See `Store.balances`."""
        return self._books.accounts.ledger.balances if self._opened else {}

    async def cancel(self, ids: Sequence[str], outcome: Outcome) -> list[Cancellation]:
        """See `Store.cancel`."""
        found: list[Cancellation] = await self._do(
            Cancel(ids, outcome.status, encode_outcome(outcome), self._clock.wall())
        )
        return found

    async def get(self, id: str) -> JobRecord | None:  # noqa: A002
        """See `Store.get`."""
        rows = await self._read(lambda: self._reader.execute(RECORD, (id,)).fetchall())
        return record_of(*rows[0]) if rows else None

    async def next_due(self, now: float) -> float | None:
        """See `Store.next_due`."""
        due = self._queue.due
        if due is None or due > now:
            return due
        found: float | None = await self._do(NextDue(now))
        return found

    async def fired(self, name: str) -> float | None:
        """See `Store.fired`."""
        query = "SELECT fired FROM periodic WHERE name = ?"
        rows = await self._read(lambda: self._reader.execute(query, (name,)).fetchall())
        return rows[0][0] if rows else None

    async def note_fired(self, name: str, at: float) -> None:
        """See `Store.note_fired`."""
        await self._do(NoteFired(name, at))

    async def loaded(self, tenant: str, digests: Sequence[str]) -> set[str]:
        """See `Store.loaded`."""
        return await self._read(lambda: read_loaded(self._reader, tenant, digests))

    async def note_loaded(self, tenant: str, digest: str, most: int) -> None:
        """See `Store.note_loaded`."""
        await self._do(NoteLoaded(tenant, digest, most, self._clock.wall()))

    def counts(self) -> dict[str, int]:
        """See `Store.counts`."""
        return {"queued": self._queue.queued, "running": self._queue.running}

    def oldest_ready(self, now: float) -> float:
        """See `Store.oldest_ready`."""
        return self._queue.longest_wait(now)

    async def list(
        self, *, tenant: str | None, status: State | Status | None, after: str | None, limit: int
    ) -> list[JobRecord]:
        """See `Store.list`."""
        rows = await self._read(lambda: list_jobs(self._reader, tenant=tenant, status=status, after=after, limit=limit))
        return [record_of(*row) for row in rows]

    def _open(self) -> Sequence[Job]:
        path = self.path.resolve()
        if not path.parent.is_dir():
            raise ConfigError(f"scheduler.store: {path}: there is no directory {path.parent}")
        self._lock = OwnerLock(path.with_name(f"{path.name}-lock"))
        self._lock.take(path)
        try:
            self._connection = connect(path)
            try:
                self._books = Books(self._connection, self._config, self._clock, self._terms)
                queued, self._orphans = self._books.recover()
                self._reader = connect_to_read(path)
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            self._lock.release()
            raise ConfigError(f"scheduler.store: {path}: {error}") from None
        except BaseException:
            self._lock.release()
            raise
        self._queue = self._books.queue
        self._reading = ThreadPoolExecutor(1, "wasmq-store-reader")
        self._opened = True
        return queued

    def _close(self) -> None:
        self._reading.shutdown()
        self._reader.close()
        self._connection.close()
        self._lock.release()

    async def _do(self, operation: Operation) -> Any:
        if self._writer is None:
            raise StoreUnavailable(f"{self.path} is closed")
        return await self._writer.add(operation)

    async def _read(self, work: Callable[[], _T]) -> _T:
        if self._writer is None:
            raise StoreUnavailable(f"{self.path} is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reading, work)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the store cannot be read now: {error}") from None
