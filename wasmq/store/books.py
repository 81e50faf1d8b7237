"""The books of a store with one owner: decide in memory, then write what was decided in one transaction.

Everything here runs on the writer's thread. Decisions need no SQL except for what only the history knows; each batch
then writes the last state of each job it touched: new jobs, jobs that changed, jobs that ended.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from wasmq.errors import KeyConflict, StoreUnavailable
from wasmq.job import Job, State
from wasmq.ledger import Wait
from wasmq.store.accounts import Accounts
from wasmq.store.loaded import write_loaded
from wasmq.store.operations import (
    AskBalance,
    Cancel,
    Claim,
    Credit,
    Finish,
    NextDue,
    NoteFired,
    NoteLoaded,
    Operation,
    Put,
    Refuel,
    Release,
)
from wasmq.store.protocol import Cancellation, check_same
from wasmq.store.queue import Entry, Queue
from wasmq.store.records import LARGE, decode_job, encode_job, without_input
from wasmq.store.sqlite_accounts import read_accounts, write_accounts, write_credits
from wasmq.store.statements import BY_ID, BY_KEY, END, INPUTS, INSERT, LIVE, UPDATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wasmq.clock import Clock
    from wasmq.config import StoreConfig
    from wasmq.ledger import Terms

_STEP = 500  # finished jobs that go out of the history in one transaction
_SLACK = 16  # in a busy store the history may be too long by one part in so many, and by _STEP jobs at most


class _Live(Entry):
    __slots__ = ("body", "light")

    def __init__(self, job: Job, age: int, ready_at: float, body: bytes | None) -> None:
        super().__init__(job, age, ready_at)
        self.body = body
        """The record, until it is written."""
        self.light = False
        """Whether what the guest is given is in the file alone, because it is large."""

    def lighten(self) -> None:
        self.light = True
        self.job = without_input(self.job)


class _End(msgspec.Struct, gc=False):
    entry: _Live
    status: str
    outcome: bytes
    number: int
    at: float


class _Before(msgspec.Struct, frozen=True, gc=False):
    """An entry, and what it was before the batch."""

    entry: _Live
    state: State
    attempt: int
    returned: int
    ready_at: float
    refuelled: int
    order: float


class Books:
    """The jobs and accounts of one file. `queue` and the accounts' balances may be read from other threads."""

    def __init__(
        self, connection: sqlite3.Connection, config: StoreConfig, clock: Clock, terms: Mapping[str, Terms]
    ) -> None:
        self.accounts = Accounts(terms)
        self.queue: Queue[_Live] = Queue(self.accounts.start, self._touch)
        self._connection = connection
        self._config = config
        self._clock = clock
        self._live: dict[str, _Live] = {}
        self._keys: dict[tuple[str, str], _Live] = {}
        self._last = 0
        # The history: numbers of the first and last job that ended, and when the first did.
        self._first_ended = 1
        self._last_ended = 0
        self._first_at = 0.0
        # Of the batch under way. What is new may have changed and ended by the end of it.
        self._new: list[_Live] = []
        self._changed: dict[int, _Before] = {}
        self._ends: list[_End] = []
        self._refuelled: dict[int, tuple[_Live, bytes]] = {}
        self._fired: list[tuple[str, float]] = []
        self._loaded: list[NoteLoaded] = []
        self._shifts: list[tuple[str, float]] = []
        self._pruned = False

    def configure(self, config: StoreConfig) -> None:
        """Take another length and age of the history. From any thread: the next batch or idle tick sees it."""
        self._config = config

    def recover(self) -> tuple[list[Job], list[Job]]:
        """Read what is unfinished, and return the queued jobs and those that somebody left running."""
        now = self._clock.wall()
        read_accounts(self._connection, self.accounts)
        queued: list[Job] = []
        running: list[Job] = []
        entries: list[_Live] = []
        for *job, status, seq, ready_at in self._connection.execute(LIVE):
            entry = _Live(_job(*job), seq, ready_at, None)
            if len(job[-2]) > LARGE:
                entry.lighten()
            if status == "running":
                entry.state = "running"
            entries.append(entry)
        self._begin_anew(entries)
        for entry in entries:
            (running if entry.state == "running" else queued).append(entry.job)
            self._enter(entry, now)
        (last,) = self._connection.execute("SELECT max(seq) FROM jobs").fetchone()
        (ended,) = self._connection.execute("SELECT max(ended) FROM jobs").fetchone()
        self._last = last or 0
        self._last_ended = ended or 0
        self._look_at_history()
        return queued, running

    def _begin_anew(self, entries: Sequence[_Live]) -> None:
        """Let virtual time begin at 0: what each tenant has had is forgotten, the distances between its jobs are not.

        A job that ran has had its turn, and goes first.
        """
        first: dict[str, float] = {}
        for entry in entries:
            if entry.state == "queued":
                tenant, order = entry.job.tenant, entry.job.order
                first[tenant] = min(first.get(tenant, order), order)
        for entry in entries:
            order = 0.0 if entry.state == "running" else entry.job.order - first[entry.job.tenant]
            entry.job = msgspec.structs.replace(entry.job, order=order)
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "UPDATE jobs SET ord = ? WHERE seq = ?", [(entry.job.order, entry.age) for entry in entries]
        )
        self._connection.execute("COMMIT")

    def commit(self, operations: Sequence[Operation]) -> list[Any]:
        """Do operations in one transaction, and return for each its result or its exception."""
        try:
            return self._transact(operations)
        except sqlite3.Error as error:
            if len(operations) == 1:
                return [StoreUnavailable(f"the store cannot record this now: {error}")]
        # What does not fit on a full disk must not stand in the way of what does.
        return [result for operation in operations for result in self.commit([operation])]

    def tidy(self) -> bool:
        """Take a step at what is beyond the history; returns whether there may be more to do."""
        now = self._clock.wall()
        if not self._overdue(now, slack=0):
            return False
        try:
            self._connection.execute("BEGIN")
            self._prune(now, _STEP)
            self._connection.execute("COMMIT")
            self._look_at_history()
        except sqlite3.Error:
            # The disk is full or gone: jobs that come will say so, and a later tick tries again.
            self._roll_back()
            return False
        return True

    def _transact(self, operations: Sequence[Operation]) -> list[Any]:
        last, last_ended = self._last, self._last_ended
        try:
            earlier = self._earlier(operations)
            results = [self._decide(operation, earlier) for operation in operations]
            ended_at = max([op.now for op in operations if isinstance(op, Finish | Cancel)], default=None)
            slack = min(self._config.history // _SLACK, _STEP)
            self._pruned = ended_at is not None and self._overdue(ended_at, slack=slack)
            changed = self._new or self._changed or self._refuelled or self.accounts.ledger.changed
            if changed or self._fired or self._loaded or self._pruned:
                self._write(ended_at)
        except BaseException:
            self._roll_back()
            self._last, self._last_ended = last, last_ended
            self._undo()
            raise
        self._keep(was_empty=last_ended < self._first_ended)
        return results

    def _keep(self, *, was_empty: bool) -> None:
        """Let go of what only the batch needed."""
        for entry in self._new:
            if _small(entry.body) is None:
                entry.lighten()
            entry.body = None
        for entry, body in self._refuelled.values():
            if _small(body) is None:
                entry.lighten()
        for end in self._ends:
            self._drop(end.entry)
        self.accounts.keep()
        if self._pruned or (was_empty and self._ends):
            self._look_at_history()
        self._clear()

    def _undo(self) -> None:
        """Put everything back as it was before the batch."""
        now = self._clock.wall()
        for tenant, distance in self._shifts:
            self.queue.shift(tenant, -distance)
        for entry in self._new:
            if entry.state != "finished":
                self.queue.leave(entry)
            self._drop(entry)
        for before in self._changed.values():
            entry = before.entry
            if entry.body is not None:
                continue
            if entry.state != "finished":
                self.queue.leave(entry)
            entry.job = msgspec.structs.replace(
                entry.job,
                attempt=before.attempt,
                returned=before.returned,
                refuelled=before.refuelled,
                order=before.order,
            )
            entry.state, entry.ready_at = before.state, before.ready_at
            self.queue.enter(entry, now)
        for tenant in self.accounts.ledger.changed:
            self.queue.free(tenant)
        self.accounts.undo()
        self._clear()

    def _clear(self) -> None:
        self._new, self._changed, self._ends, self._fired, self._pruned = [], {}, [], [], False
        self._loaded = []
        self._refuelled = {}
        self._shifts = []

    def _enter(self, entry: _Live, now: float) -> None:
        job = entry.job
        self._live[job.id] = entry
        if job.key is not None:
            self._keys[job.tenant, job.key] = entry
        self.queue.enter(entry, now)

    def _drop(self, entry: _Live) -> None:
        job = entry.job
        del self._live[job.id]
        if job.key is not None:
            del self._keys[job.tenant, job.key]

    def _touch(self, entry: _Live) -> None:
        job = entry.job
        if entry.age not in self._changed:
            self._changed[entry.age] = _Before(
                entry, entry.state, job.attempt, job.returned, entry.ready_at, job.refuelled, self.queue.tag_of(entry)
            )

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    # Decide.

    def _decide(self, operation: Operation, earlier: dict[tuple[str, str], Job]) -> Any:
        match operation:
            case Put():
                try:
                    return self._put(operation, earlier)
                except KeyConflict as conflict:
                    return conflict
            case Claim():
                return self._claim(operation)
            case Finish():
                return [self._finish(end, operation.now) for end in operation.ends]
            case Release():
                for job in operation.jobs:
                    self._release(job, operation)
                return None
            case Cancel():
                return self._cancel(operation)
            case Refuel():
                return self._refuel(operation)
            case Credit():
                return self._credit(operation)
            case AskBalance():
                return self.accounts.balance(operation.tenant)
            case NextDue():
                return self.queue.next_due(operation.now)
            case NoteFired():
                self._fired.append((operation.name, operation.at))
                return None
            case NoteLoaded():
                self._loaded.append(operation)
                return None
        assert_never(operation)

    def _put(self, put: Put, earlier: dict[tuple[str, str], Job]) -> list[Job]:
        batch: dict[tuple[str, str], Job] = {}
        for job in put.jobs:
            if job.key is not None:
                key = (job.tenant, job.key)
                check_same(job, self._known(key, earlier) or batch.setdefault(key, job))
        stored = []
        for job, body in zip(put.jobs, put.bodies, strict=True):
            known = None if job.key is None else self._known((job.tenant, job.key), earlier)
            if known is not None:
                stored.append(known)
                continue
            self._last += 1
            entry = _Live(job, self._last, job.due, body)
            self._new.append(entry)
            self._enter(entry, put.now)
            stored.append(job)
        return stored

    def _claim(self, claim: Claim) -> list[Job]:
        claimed = self.queue.claim(claim.limit, claim.now, claim.passing)
        # Only now: should the file not be read, all that was claimed goes back.
        bodies = dict(INPUTS.run(self._connection, [(entry.age,) for entry in claimed if entry.light]))
        return [_whole(entry.job, bodies[entry.age]) if entry.light else entry.job for entry in claimed]

    def _finish(self, end: tuple[str, int, str, bytes, int, float], now: float) -> bool:
        job_id, attempt, status, outcome, used, shift = end
        entry = self._running(job_id, attempt)
        if entry is None:
            return False
        self._settle(entry.job, used)
        self.queue.shift(entry.job.tenant, shift)
        self._shifts.append((entry.job.tenant, shift))
        self._end(entry, status, outcome, now)
        return True

    def _release(self, job: Job, release: Release) -> None:
        entry = self._running(job.id, job.attempt)
        if entry is not None:
            self._touch(entry)
            self._settle(entry.job, 0)
            self.queue.release(entry, charged=release.charged, due=release.due, now=release.now)

    def _refuel(self, refuel: Refuel) -> Job | Wait | None:
        entry = self._running(refuel.id, refuel.attempt)
        if entry is None:
            return None
        job = self.accounts.refuel(entry.job, refuel.fuel, refuel.now)
        if not isinstance(job, Wait):
            self._touch(entry)
            entry.job = job
            if entry.body is not None:
                entry.body = encode_job(job)
            else:
                self._refuelled[entry.age] = entry, encode_job(self._with_input(entry))
        return job

    def _with_input(self, entry: _Live) -> Job:
        """Return a job with what its guest is given, wherever that is."""
        if not entry.light:
            return entry.job
        ((_, body),) = INPUTS.run(self._connection, [(entry.age,)])
        return msgspec.structs.replace(_whole(entry.job, body), refuelled=entry.job.refuelled)

    def _credit(self, credit: Credit) -> bool | KeyConflict:
        try:
            credited = self.accounts.credit(credit.tenant, credit.fuel, credit.now, credit.key)
        except KeyConflict as conflict:
            return conflict
        self.queue.free(credit.tenant)
        return credited

    def _settle(self, job: Job, used: int) -> None:
        if self.accounts.end(job, used):
            self.queue.free(job.tenant)

    def _running(self, job_id: str, attempt: int) -> _Live | None:
        entry = self._live.get(job_id)
        return entry if entry is not None and entry.state == "running" and entry.job.attempt == attempt else None

    def _cancel(self, cancel: Cancel) -> list[Cancellation]:
        missing = [(job_id,) for job_id in cancel.ids if job_id not in self._live]
        finished = {job_id for (job_id,) in BY_ID.run(self._connection, missing)}
        found: list[Cancellation] = []
        for job_id in cancel.ids:
            entry = self._live.get(job_id)
            if entry is None:
                found.append("finished" if job_id in finished else "unknown")
            elif entry.state == "queued":
                self._end(entry, cancel.status, cancel.outcome, cancel.now)
                found.append("cancelled")
            else:
                found.append("running" if entry.state == "running" else "finished")
        return found

    def _end(self, entry: _Live, status: str, outcome: bytes, now: float) -> None:
        self._touch(entry)
        self.queue.leave(entry)
        entry.state = "finished"
        self._last_ended += 1
        self._ends.append(_End(entry, status, outcome, self._last_ended, now))

    def _known(self, key: tuple[str, str], earlier: dict[tuple[str, str], Job]) -> Job | None:
        entry = self._keys.get(key)
        return earlier.get(key) if entry is None or entry.light else entry.job

    def _earlier(self, operations: Sequence[Operation]) -> dict[tuple[str, str], Job]:
        """Return the jobs that have a key which is put again now, where only the file knows what they were given."""
        asked = {
            (job.tenant, job.key)
            for operation in operations
            if isinstance(operation, Put)
            for job in operation.jobs
            if job.key is not None and ((entry := self._keys.get((job.tenant, job.key))) is None or entry.light)
        }
        found = BY_KEY.run(self._connection, list(asked)) if asked else []
        return {(tenant, key): _job(job_id, tenant, key, *rest) for job_id, tenant, key, *rest in found}

    # Write.

    def _write(self, now: float | None) -> None:
        connection = self._connection
        connection.execute("BEGIN")
        if self._new:
            new = self._new
            INSERT.run(
                connection,
                [
                    (
                        entry.age,
                        job.id,
                        job.tenant,
                        job.key,
                        entry.state,
                        job.attempt,
                        job.returned,
                        entry.ready_at,
                        self.queue.tag_of(entry),
                        _small(entry.body),
                    )
                    for entry in new
                    for job in (entry.job,)
                ],
            )
            large = [(entry.age, entry.body) for entry in new if _small(entry.body) is None]
            if large:
                connection.executemany("INSERT INTO inputs (seq, body) VALUES (?, ?)", large)
        changed = [before.entry for before in self._changed.values() if before.entry.body is None]
        unfinished = [entry for entry in changed if entry.state != "finished"]
        if unfinished:
            UPDATE.run(
                connection,
                [
                    (entry.age, entry.state, job.attempt, job.returned, entry.ready_at, self.queue.tag_of(entry))
                    for entry in unfinished
                    for job in (entry.job,)
                ],
            )
        if self._refuelled:
            self._write_refuelled()
        if self._ends:
            self._write_ends()
        if self.accounts.ledger.changed:
            numbers = {job_id: self._live[job_id].age for job_id in self.accounts.changed}
            write_accounts(connection, self.accounts, numbers)
            if self.accounts.credited:
                write_credits(connection, self.accounts, self._clock.wall() - self._config.history_age)
        if self._fired:
            connection.executemany(
                "INSERT INTO periodic (name, fired) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET fired = max(fired, excluded.fired)",
                self._fired,
            )
        write_loaded(connection, self._loaded)
        if self._pruned and now is not None:
            self._prune(now, _STEP + 2 * len(self._ends))
        connection.execute("COMMIT")

    def _write_refuelled(self) -> None:
        """Write the records of jobs whose caps have been raised, each where one of its size belongs."""
        connection = self._connection
        for entry, body in self._refuelled.values():
            connection.execute("UPDATE jobs SET body = ? WHERE seq = ?", (_small(body), entry.age))
            connection.execute("DELETE FROM inputs WHERE seq = ?", (entry.age,))
            if _small(body) is None:
                connection.execute("INSERT INTO inputs (seq, body) VALUES (?, ?)", (entry.age, body))

    def _write_ends(self) -> None:
        ends = self._ends
        END.run(
            self._connection,
            [
                (end.entry.age, end.status, job.attempt, job.returned, end.number, end.at, _small(end.outcome))
                for end in ends
                for job in (end.entry.job,)
            ],
        )
        large = [(end.entry.age, end.outcome) for end in ends if _small(end.outcome) is None]
        if large:
            self._connection.executemany("INSERT INTO outputs (seq, outcome) VALUES (?, ?)", large)

    # The history.

    def _overdue(self, now: float, *, slack: int) -> bool:
        """Return whether there are more finished jobs than are kept, by more than `slack`, or too old ones."""
        kept = self._last_ended - self._first_ended + 1
        return kept > self._config.history + slack or (kept > 0 and now - self._first_at > self._config.history_age)

    def _prune(self, now: float, most: int) -> None:
        """Delete the oldest finished jobs that are too many or too old, `most` at most."""
        config = self._config
        self._connection.execute(
            "DELETE FROM jobs WHERE ended BETWEEN :first AND :first + :most - 1 "
            "AND (ended <= :beyond OR :now - finished_at > :age)",
            {
                "first": self._first_ended,
                "most": most,
                "beyond": self._last_ended - config.history,
                "now": now,
                "age": config.history_age,
            },
        )

    def _look_at_history(self) -> None:
        """Find the oldest finished job."""
        oldest = self._connection.execute(
            "SELECT ended, finished_at FROM jobs WHERE ended >= ? ORDER BY ended LIMIT 1", (self._first_ended,)
        ).fetchone()
        self._first_ended, self._first_at = oldest or (self._last_ended + 1, 0.0)


def _small(record: bytes | None) -> bytes | None:
    return record if record is not None and len(record) <= LARGE else None


def _whole(job: Job, body: bytes) -> Job:
    return _job(job.id, job.tenant, job.key, job.attempt, job.returned, body, job.order)


def _job(
    job_id: str, tenant: str, key: str | None, attempt: int, returned: int, body: bytes, order: float | None = None
) -> Job:
    return decode_job(body, id=job_id, tenant=tenant, key=key, attempt=attempt, returned=returned, order=order)
