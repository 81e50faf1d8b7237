"""What an earlier life of a SQLite file has left unfinished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wasmq.store.records import LARGE
from wasmq.store.sqlite.batch import Live
from wasmq.store.sqlite.rows import job_of
from wasmq.store.sqlite.statements import LIVE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence


def unfinished(connection: sqlite3.Connection) -> list[Live]:
    """Return the unfinished jobs, the oldest first, with their tags as they are from now on."""
    entries: list[Live] = []
    for *job, status, seq, ready_at in connection.execute(LIVE):
        entry = Live(job_of(*job), seq, ready_at, None)
        if len(job[-2]) > LARGE:
            entry.lighten()
        if status == "running":
            entry.state = "running"
        entries.append(entry)
    _begin_anew(connection, entries)
    return entries


def _begin_anew(connection: sqlite3.Connection, entries: Sequence[Live]) -> None:
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
    connection.execute("BEGIN")
    connection.executemany("UPDATE jobs SET ord = ? WHERE seq = ?", [(entry.job.order, entry.age) for entry in entries])
    connection.execute("COMMIT")
