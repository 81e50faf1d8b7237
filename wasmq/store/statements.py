"""SQL that writes many rows in one step.

Each step of a statement lets another thread have the interpreter and may wait milliseconds to get it back, so a batch
must not take a step a row. Rows are bound to a `VALUES` of one of a few lengths, filled up with rows of NULL that each
statement passes over.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_LENGTHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


class ManyRows:
    """One statement for any number of rows of `width` columns; `{rows}` in it is where they come in."""

    def __init__(self, width: int, text: str) -> None:
        row = f"({', '.join('?' * width)})"
        self._width = width
        self._texts = {length: text.replace("{rows}", f"VALUES {', '.join([row] * length)}") for length in _LENGTHS}

    def run(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """Run it for all rows, none of which begins with NULL, and return what it gives."""
        found: list[tuple[Any, ...]] = []
        for part, length in _parts(rows):
            values = list(chain.from_iterable(part))
            values += [None] * (self._width * (length - len(part)))
            found += connection.execute(self._texts[length], values)
        return found


def _parts(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[Sequence[Sequence[Any]], int]]:
    longest = _LENGTHS[-1]
    for start in range(0, len(rows), longest):
        part = rows[start : start + longest]
        yield part, next(length for length in _LENGTHS if length >= len(part))


INSERT = ManyRows(
    9,
    # A row is as long from the beginning as most outcomes will make it: growing, it would not fit its full page.
    "INSERT INTO jobs (seq, id, tenant, key, status, attempt, returned, ready_at, body, outcome) "
    "SELECT *, zeroblob(200) FROM ({rows}) WHERE column1 IS NOT NULL",
)
UPDATE = ManyRows(
    5,
    "WITH rows (seq, status, attempt, returned, ready_at) AS ({rows}) "
    "UPDATE jobs SET status = rows.status, attempt = rows.attempt, returned = rows.returned, ready_at = rows.ready_at "
    "FROM rows WHERE jobs.seq = rows.seq",
)
END = ManyRows(
    7,
    "WITH rows (seq, status, attempt, returned, ended, finished_at, outcome) AS ({rows}) "
    "UPDATE jobs SET status = rows.status, attempt = rows.attempt, returned = rows.returned, "
    "ended = rows.ended, finished_at = rows.finished_at, outcome = rows.outcome "
    "FROM rows WHERE jobs.seq = rows.seq",
)
BY_KEY = ManyRows(
    2,
    "WITH rows (tenant, key) AS ({rows}) "
    "SELECT jobs.id, jobs.tenant, jobs.key, jobs.attempt, jobs.returned, coalesce(jobs.body, inputs.body) "
    "FROM rows CROSS JOIN jobs ON jobs.tenant = rows.tenant AND jobs.key = rows.key "
    "LEFT JOIN inputs ON inputs.seq = jobs.seq",
)
INPUTS = ManyRows(
    1,
    "WITH rows (seq) AS ({rows}) SELECT inputs.seq, inputs.body FROM rows CROSS JOIN inputs ON inputs.seq = rows.seq",
)
BY_ID = ManyRows(
    1,
    "WITH rows (id) AS ({rows}) SELECT jobs.id FROM rows CROSS JOIN jobs ON jobs.id = rows.id",
)

_RECORD = (
    "SELECT jobs.id, jobs.tenant, jobs.key, jobs.attempt, jobs.returned, coalesce(jobs.body, inputs.body), "
    "jobs.status, jobs.ended, CASE WHEN jobs.ended IS NOT NULL THEN coalesce(jobs.outcome, outputs.outcome) END "
    "FROM jobs LEFT JOIN inputs ON inputs.seq = jobs.seq LEFT JOIN outputs ON outputs.seq = jobs.seq "
)
RECORD = _RECORD + "WHERE jobs.id = ?"
LIVE = (
    "SELECT jobs.id, jobs.tenant, jobs.key, jobs.attempt, jobs.returned, coalesce(jobs.body, inputs.body), "
    "jobs.status, jobs.seq, jobs.ready_at "
    "FROM jobs LEFT JOIN inputs ON inputs.seq = jobs.seq WHERE jobs.ended IS NULL ORDER BY jobs.seq"
)


def listing(*, tenant: bool, status: str | None, after: bool) -> str:
    """Return the SQL of one page, newest first. Bound by name: tenant, status, after (an id), limit."""
    terms = []
    if after:
        terms.append("jobs.seq < (SELECT seq FROM jobs WHERE id = :after)")
    if tenant:
        # What is unfinished is found among few, whoever's it is.
        terms.append(f"{'+' if status in ('queued', 'running') else ''}jobs.tenant = :tenant")
    match status:
        case None:
            pass
        case "queued" | "running":
            terms.append("jobs.ended IS NULL AND jobs.status = :status")
        case "finished":
            terms.append("+jobs.ended IS NOT NULL")  # by the index it would have to sort the whole history
        case "succeeded":
            terms.append("jobs.status = :status")
        case _:
            terms.append("jobs.ended IS NOT NULL AND jobs.status <> 'succeeded' AND jobs.status = :status")
    where = f"WHERE {' AND '.join(terms)} " if terms else ""
    return f"{_RECORD}{where}ORDER BY jobs.seq DESC LIMIT :limit"
