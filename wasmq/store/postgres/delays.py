"""Delayed jobs: made ready when their time has come, by whoever asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wasmq.store.postgres.database import Database

_MOST_WOKEN: Final = 1_000  # delayed jobs made ready by one claim


class Delays:
    """Wakes what is due, and asks the database only when something may have changed.

    What others delay is noticed after the next `forget`.
    """

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self.first: float | None = None
        """When the first delayed job is due, as of the last `wake`."""
        self._database = database
        self._sql = sql
        self._is_known = False

    def forget(self) -> None:
        """Ask again the next time."""
        self._is_known = False

    def note(self, dues: Iterable[float], now: float) -> None:
        """Note that there are jobs which become due then."""
        if any(due > now for due in dues):
            self._is_known = False

    async def wake(self, now: float) -> None:
        """Make delayed jobs ready whose time has come."""
        if not self._is_known:
            await self._ask()
        while self.first is not None and self.first <= now:
            await self._database.execute(self._sql["wake"], now, _MOST_WOKEN)
            await self._ask()

    async def _ask(self) -> None:
        self._is_known = True
        (row,) = await self._database.fetch(self._sql["first_due"])
        self.first = row[0]
