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

_STRETCH = 12  # bits of a job's number that do not name its stretch: see sql/sqlite-0003.sql
_BEYOND = 2**62  # more than any job's number
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
    10,
    # A row is as long from the beginning as most outcomes will make it: growing, it would not fit its full page.
    "INSERT INTO jobs (seq, id, tenant, key, status, attempt, returned, ready_at, ord, body, outcome) "
    "SELECT *, zeroblob(200) FROM ({rows}) WHERE column1 IS NOT NULL",
)
UPDATE = ManyRows(
    6,
    "WITH rows (seq, status, attempt, returned, ready_at, ord) AS ({rows}) "
    "UPDATE jobs SET status = rows.status, attempt = rows.attempt, returned = rows.returned, "
    "ready_at = rows.ready_at, ord = rows.ord "
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
    "jobs.ord, jobs.status, jobs.ended, "
    "CASE WHEN jobs.ended IS NOT NULL THEN coalesce(jobs.outcome, outputs.outcome) END "
    "FROM jobs LEFT JOIN inputs ON inputs.seq = jobs.seq LEFT JOIN outputs ON outputs.seq = jobs.seq "
)
RECORD = _RECORD + "WHERE jobs.id = ?"
LAST_BELOW = "SELECT max(seq) FROM jobs WHERE seq < ?"
LIVE = (
    "SELECT jobs.id, jobs.tenant, jobs.key, jobs.attempt, jobs.returned, coalesce(jobs.body, inputs.body), "
    "jobs.ord, jobs.status, jobs.seq, jobs.ready_at "
    "FROM jobs LEFT JOIN inputs ON inputs.seq = jobs.seq WHERE jobs.ended IS NULL ORDER BY jobs.seq"
)


def list_jobs(
    connection: sqlite3.Connection, *, tenant: str | None, status: str | None, after: str | None, limit: int
) -> list[tuple[Any, ...]]:
    """Return one page of jobs as `RECORD` gives them, newest first, beginning behind the job `after`."""
    bound: dict[str, Any] = {"tenant": tenant, "status": status, "limit": limit, "below": _BEYOND}
    if after is not None:
        row = connection.execute("SELECT seq FROM jobs WHERE id = ?", (after,)).fetchone()
        if row is None:
            return []
        bound["below"] = row[0]
    if tenant is None or status in ("queued", "running"):
        return connection.execute(listing(tenant=tenant is not None, status=status), bound).fetchall()
    found: list[tuple[Any, ...]] = []
    query = listing(tenant=True, status=status)
    while len(found) < limit:
        # Where many jobs have been pruned there are stretches without any.
        (last,) = connection.execute(LAST_BELOW, (bound["below"],)).fetchone()
        if last is None:
            break
        bound |= {"stretch": last >> _STRETCH, "limit": limit - len(found)}
        found += connection.execute(query, bound)
        bound["below"] = last >> _STRETCH << _STRETCH
    return found


def listing(*, tenant: bool, status: str | None) -> str:
    """Return the SQL of one page, newest first; of a tenant's finished jobs, one page of a stretch.

    Bound by name: tenant, status, stretch, below (a number), limit.
    """
    terms = ["jobs.seq < :below"]
    if tenant and status in ("queued", "running"):
        # What is unfinished is found among few, whoever's it is.
        terms.append("+jobs.tenant = :tenant")
    elif tenant:
        terms.append(f"jobs.seq >> {_STRETCH} = :stretch AND jobs.tenant = :tenant")
    match status:
        case None:
            pass
        case "queued" | "running":
            terms.append("jobs.ended IS NULL AND jobs.status = :status")
        case "finished":
            terms.append("+jobs.ended IS NOT NULL")  # by the index it would have to sort the whole history
        case "succeeded":
            terms.append("jobs.status = :status")
        case _ if tenant:
            terms.append("+jobs.status = :status")
        case _:
            terms.append("jobs.ended IS NOT NULL AND jobs.status <> 'succeeded' AND jobs.status = :status")
    return f"{_RECORD}WHERE {' AND '.join(terms)} ORDER BY jobs.seq DESC LIMIT :limit"
