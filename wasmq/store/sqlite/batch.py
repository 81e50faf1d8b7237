"""What one transaction has to write, gathered while its operations are decided, and the SQL that writes it.

Of each job that the batch touched its last state is written: new jobs, jobs that changed, jobs that ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wasmq.job import State
from wasmq.store.queue import Entry
from wasmq.store.records import without_input
from wasmq.store.sqlite.rows import small
from wasmq.store.sqlite.statements import END, INSERT, UPDATE

if TYPE_CHECKING:
    import sqlite3

    from wasmq.job import Job
    from wasmq.store.queue import Queue
    from wasmq.store.sqlite.operations import NoteLoaded


class Live(Entry):
    """One unfinished job, and what of it is not in memory or not in the file."""

    __slots__ = ("body", "light")

    def __init__(self, job: Job, age: int, ready_at: float, body: bytes | None) -> None:
        super().__init__(job, age, ready_at)
        self.body = body
        """The record, until it is written."""
        self.light = False
        """Whether what the guest is given is in the file alone, because it is large."""

    def lighten(self) -> None:
        """Leave what the guest is given to the file."""
        self.light = True
        self.job = without_input(self.job)


class End(msgspec.Struct, gc=False):
    """How a job ended: its status, its encoded outcome, its number in the history, and seconds since 1970."""

    entry: Live
    status: str
    outcome: bytes
    number: int
    at: float


class Before(msgspec.Struct, frozen=True, gc=False):
    """An entry, and what it was before the batch."""

    entry: Live
    state: State
    attempt: int
    returned: int
    ready_at: float
    refuelled: int
    order: float


class Batch:
    """The jobs that one transaction touches. What is new may have changed and ended by the end of it."""

    __slots__ = ("changed", "ends", "fired", "loaded", "new", "prunes", "refuelled", "shifts")

    def __init__(self) -> None:
        self.new: list[Live] = []
        self.changed: dict[int, Before] = {}
        """By the jobs' numbers."""
        self.ends: list[End] = []
        self.refuelled: dict[int, tuple[Live, bytes]] = {}
        """Jobs whose caps have been raised, by number, with their new records."""
        self.fired: list[tuple[str, float]] = []
        """Periodic calls, and the firing that was submitted last."""
        self.loaded: list[NoteLoaded] = []
        self.shifts: list[tuple[str, float]] = []
        """Tenants, and by how much their tags have moved."""
        self.prunes = False
        """Whether what is beyond the history goes with it."""

    def write(self, connection: sqlite3.Connection, queue: Queue[Live]) -> None:
        """Write the jobs, inside a transaction; `queue` knows their tags."""
        if self.new:
            self._write_new(connection, queue)
        changed = [before.entry for before in self.changed.values() if before.entry.body is None]
        unfinished = [entry for entry in changed if entry.state != "finished"]
        if unfinished:
            UPDATE.run(
                connection,
                [
                    (entry.age, entry.state, job.attempt, job.returned, entry.ready_at, queue.tag_of(entry))
                    for entry in unfinished
                    for job in (entry.job,)
                ],
            )
        if self.refuelled:
            self._write_refuelled(connection)
        if self.ends:
            self._write_ends(connection)

    def write_fired(self, connection: sqlite3.Connection) -> None:
        """Write which periodic calls have been submitted, inside a transaction."""
        connection.executemany(
            "INSERT INTO periodic (name, fired) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET fired = max(fired, excluded.fired)",
            self.fired,
        )

    def _write_new(self, connection: sqlite3.Connection, queue: Queue[Live]) -> None:
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
                    queue.tag_of(entry),
                    small(entry.body),
                )
                for entry in self.new
                for job in (entry.job,)
            ],
        )
        large = [(entry.age, entry.body) for entry in self.new if small(entry.body) is None]
        if large:
            connection.executemany("INSERT INTO inputs (seq, body) VALUES (?, ?)", large)

    def _write_refuelled(self, connection: sqlite3.Connection) -> None:
        """Write the records of jobs whose caps have been raised, each where one of its size belongs."""
        for entry, body in self.refuelled.values():
            connection.execute("UPDATE jobs SET body = ? WHERE seq = ?", (small(body), entry.age))
            connection.execute("DELETE FROM inputs WHERE seq = ?", (entry.age,))
            if small(body) is None:
                connection.execute("INSERT INTO inputs (seq, body) VALUES (?, ?)", (entry.age, body))

    def _write_ends(self, connection: sqlite3.Connection) -> None:
        END.run(
            connection,
            [
                (end.entry.age, end.status, job.attempt, job.returned, end.number, end.at, small(end.outcome))
                for end in self.ends
                for job in (end.entry.job,)
            ],
        )
        large = [(end.entry.age, end.outcome) for end in self.ends if small(end.outcome) is None]
        if large:
            connection.executemany("INSERT INTO outputs (seq, outcome) VALUES (?, ?)", large)
