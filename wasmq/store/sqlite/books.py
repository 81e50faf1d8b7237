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
from wasmq.ledger import Wait
from wasmq.store.accounts import Accounts
from wasmq.store.loaded import write_loaded
from wasmq.store.protocol import Cancellation, check_same
from wasmq.store.queue import Queue
from wasmq.store.records import encode_job
from wasmq.store.sqlite.accounts import read_accounts, write_accounts, write_credits
from wasmq.store.sqlite.batch import Batch, Before, End, Live
from wasmq.store.sqlite.history import STEP, History
from wasmq.store.sqlite.operations import (
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
from wasmq.store.sqlite.recovery import unfinished
from wasmq.store.sqlite.rows import job_of, small, whole
from wasmq.store.sqlite.statements import BY_ID, BY_KEY, INPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wasmq.clock import Clock
    from wasmq.config import StoreConfig
    from wasmq.job import Job
    from wasmq.ledger import Terms


class Books:
    """The jobs and accounts of one file. `queue` and the accounts' balances may be read from other threads."""

    def __init__(
        self, connection: sqlite3.Connection, config: StoreConfig, clock: Clock, terms: Mapping[str, Terms]
    ) -> None:
        self.accounts = Accounts(terms)
        self.queue: Queue[Live] = Queue(self.accounts.start, self._touch)
        self._connection = connection
        self._clock = clock
        self._live: dict[str, Live] = {}
        self._keys: dict[tuple[str, str], Live] = {}
        self._last = 0
        self._history = History(connection, config)
        self._batch = Batch()

    def configure(self, config: StoreConfig) -> None:
        """Take another length and age of the history. From any thread: the next batch or idle tick sees it."""
        self._history.config = config

    def recover(self) -> tuple[list[Job], list[Job]]:
        """Read what is unfinished, and return the queued jobs and those that somebody left running."""
        now = self._clock.wall()
        read_accounts(self._connection, self.accounts)
        queued: list[Job] = []
        running: list[Job] = []
        for entry in unfinished(self._connection):
            (running if entry.state == "running" else queued).append(entry.job)
            self._enter(entry, now)
        (last,) = self._connection.execute("SELECT max(seq) FROM jobs").fetchone()
        self._last = last or 0
        self._history.recover()
        return queued, running

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
        if not self._history.overdue(now, busy=False):
            return False
        try:
            self._connection.execute("BEGIN")
            self._history.prune(now, STEP)
            self._connection.execute("COMMIT")
            self._history.look()
        except sqlite3.Error:
            # The disk is full or gone: jobs that come will say so, and a later tick tries again.
            self._roll_back()
            return False
        return True

    def _transact(self, operations: Sequence[Operation]) -> list[Any]:
        batch, history = self._batch, self._history
        last, last_ended = self._last, history.last
        try:
            earlier = self._earlier(operations)
            results = [self._decide(operation, earlier) for operation in operations]
            ended_at = max([op.now for op in operations if isinstance(op, Finish | Cancel)], default=None)
            batch.prunes = ended_at is not None and history.overdue(ended_at, busy=True)
            changed = batch.new or batch.changed or batch.refuelled or self.accounts.ledger.changed
            if changed or batch.fired or batch.loaded or batch.prunes:
                self._write(ended_at)
        except BaseException:
            self._roll_back()
            self._last, history.last = last, last_ended
            self._undo()
            raise
        self._keep(was_empty=history.is_empty(last_ended))
        return results

    def _keep(self, *, was_empty: bool) -> None:
        """Let go of what only the batch needed."""
        batch = self._batch
        for entry in batch.new:
            if small(entry.body) is None:
                entry.lighten()
            entry.body = None
        for entry, body in batch.refuelled.values():
            if small(body) is None:
                entry.lighten()
        for end in batch.ends:
            self._drop(end.entry)
        self.accounts.keep()
        if batch.prunes or (was_empty and batch.ends):
            self._history.look()
        self._batch = Batch()

    def _undo(self) -> None:
        """Put everything back as it was before the batch."""
        now = self._clock.wall()
        batch = self._batch
        for tenant, distance in batch.shifts:
            self.queue.shift(tenant, -distance)
        for entry in batch.new:
            if entry.state != "finished":
                self.queue.leave(entry)
            self._drop(entry)
        for before in batch.changed.values():
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
        self._batch = Batch()

    def _enter(self, entry: Live, now: float) -> None:
        job = entry.job
        self._live[job.id] = entry
        if job.key is not None:
            self._keys[job.tenant, job.key] = entry
        self.queue.enter(entry, now)

    def _drop(self, entry: Live) -> None:
        job = entry.job
        del self._live[job.id]
        if job.key is not None:
            del self._keys[job.tenant, job.key]

    def _touch(self, entry: Live) -> None:
        job = entry.job
        if entry.age not in self._batch.changed:
            self._batch.changed[entry.age] = Before(
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
                self._batch.fired.append((operation.name, operation.at))
                return None
            case NoteLoaded():
                self._batch.loaded.append(operation)
                return None
        assert_never(operation)

    def _put(self, put: Put, earlier: dict[tuple[str, str], Job]) -> list[Job]:
        first: dict[tuple[str, str], Job] = {}
        for job in put.jobs:
            if job.key is not None:
                key = (job.tenant, job.key)
                check_same(job, self._known(key, earlier) or first.setdefault(key, job))
        stored = []
        for job, body in zip(put.jobs, put.bodies, strict=True):
            known = None if job.key is None else self._known((job.tenant, job.key), earlier)
            if known is not None:
                stored.append(known)
                continue
            self._last += 1
            entry = Live(job, self._last, job.due, body)
            self._batch.new.append(entry)
            self._enter(entry, put.now)
            stored.append(job)
        return stored

    def _claim(self, claim: Claim) -> list[Job]:
        claimed = self.queue.claim(claim.limit, claim.now, claim.passing)
        # Only now: should the file not be read, all that was claimed goes back.
        bodies = dict(INPUTS.run(self._connection, [(entry.age,) for entry in claimed if entry.light]))
        return [whole(entry.job, bodies[entry.age]) if entry.light else entry.job for entry in claimed]

    def _finish(self, end: tuple[str, int, str, bytes, int, float], now: float) -> bool:
        job_id, attempt, status, outcome, used, shift = end
        entry = self._running(job_id, attempt)
        if entry is None:
            return False
        self._settle(entry.job, used)
        self.queue.shift(entry.job.tenant, shift)
        self._batch.shifts.append((entry.job.tenant, shift))
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
                self._batch.refuelled[entry.age] = entry, encode_job(self._with_input(entry))
        return job

    def _with_input(self, entry: Live) -> Job:
        """Return a job with what its guest is given, wherever that is."""
        if not entry.light:
            return entry.job
        ((_, body),) = INPUTS.run(self._connection, [(entry.age,)])
        return msgspec.structs.replace(whole(entry.job, body), refuelled=entry.job.refuelled)

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

    def _running(self, job_id: str, attempt: int) -> Live | None:
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

    def _end(self, entry: Live, status: str, outcome: bytes, now: float) -> None:
        self._touch(entry)
        self.queue.leave(entry)
        entry.state = "finished"
        self._history.last += 1
        self._batch.ends.append(End(entry, status, outcome, self._history.last, now))

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
        return {(tenant, key): job_of(job_id, tenant, key, *rest) for job_id, tenant, key, *rest in found}

    # Write.

    def _write(self, now: float | None) -> None:
        connection, batch = self._connection, self._batch
        connection.execute("BEGIN")
        batch.write(connection, self.queue)
        if self.accounts.ledger.changed:
            numbers = {job_id: self._live[job_id].age for job_id in self.accounts.changed}
            write_accounts(connection, self.accounts, numbers)
            if self.accounts.credited:
                write_credits(connection, self.accounts, self._clock.wall() - self._history.config.history_age)
        if batch.fired:
            batch.write_fired(connection)
        write_loaded(connection, batch.loaded)
        if batch.prunes and now is not None:
            self._history.prune(now, STEP + 2 * len(batch.ends))
        connection.execute("COMMIT")
