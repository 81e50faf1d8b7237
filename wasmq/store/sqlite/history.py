"""The history in a SQLite file: finished jobs, numbered as they ended, and when the oldest of them go."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from wasmq.config import StoreConfig

STEP = 500
"""Finished jobs that go out of the history in one transaction."""
_SLACK = 16  # in a busy store the history may be too long by one part in so many, and by STEP jobs at most


class History:
    """Says what is beyond `config`, and deletes it. `last` is the number of the job that ended last."""

    def __init__(self, connection: sqlite3.Connection, config: StoreConfig) -> None:
        self.config = config
        self.last = 0
        self._connection = connection
        # The number of the first job that is kept, and when it ended.
        self._first = 1
        self._first_at = 0.0

    def recover(self) -> None:
        """Find out what the file has."""
        (ended,) = self._connection.execute("SELECT max(ended) FROM jobs").fetchone()
        self.last = ended or 0
        self.look()

    def is_empty(self, last: int) -> bool:
        """Return whether nothing was kept when the job that had ended last was the one with this number."""
        return last < self._first

    def overdue(self, now: float, *, busy: bool) -> bool:
        """Return whether more jobs are kept than may be, or too old ones; a busy store may keep some more."""
        kept = self.last - self._first + 1
        slack = min(self.config.history // _SLACK, STEP) if busy else 0
        return kept > self.config.history + slack or (kept > 0 and now - self._first_at > self.config.history_age)

    def prune(self, now: float, most: int) -> None:
        """Delete the oldest finished jobs that are too many or too old, `most` at most, inside a transaction.

        `look` when that has been committed.
        """
        self._connection.execute(
            "DELETE FROM jobs WHERE ended BETWEEN :first AND :first + :most - 1 "
            "AND (ended <= :beyond OR :now - finished_at > :age)",
            {
                "first": self._first,
                "most": most,
                "beyond": self.last - self.config.history,
                "now": now,
                "age": self.config.history_age,
            },
        )

    def look(self) -> None:
        """Find the oldest finished job."""
        oldest = self._connection.execute(
            "SELECT ended, finished_at FROM jobs WHERE ended >= ? ORDER BY ended LIMIT 1", (self._first,)
        ).fetchone()
        self._first, self._first_at = oldest or (self.last + 1, 0.0)
