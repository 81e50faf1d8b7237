"""Jobs of daemons that are gone, taken over by this one: each once, also when the server's answer is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from wasmq.store.postgres.leases import FORGET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Record

    from wasmq.store.postgres.database import Connection, Database

_MOST: Final = 500  # jobs taken over at once


class Takeovers:
    """Takes jobs over for the daemon `owner`. Statements are tried again for `patience` seconds.

    Each try marks its jobs with a number of its own, below 0 where claims have theirs above. What a try has taken whose
    answer was lost belongs to this daemon without its knowing: so later ones take it anew.
    """

    def __init__(self, database: Database, sql: Mapping[str, str], owner: int, patience: float) -> None:
        self._database = database
        self._sql = sql
        self._owner = owner
        self._patience = patience
        self._number = 0
        self._tries: dict[int, float] = {}

    async def take(self) -> tuple[list[Record], list[Record]]:
        """Strike off daemons whose leases have lapsed; returns them, and jobs of theirs. Raises `StoreUnavailable`."""
        buried, rows, number = await self._database.run(self._try)
        del self._tries[number]
        if len(rows) < _MOST:
            long_ago = anyio.current_time() - FORGET * self._patience
            for lost in [each for each, since in self._tries.items() if since < long_ago]:
                del self._tries[lost]
        return buried, rows

    async def _try(self, connection: Connection, _: int) -> tuple[list[Record], list[Record], int]:
        lost = list(self._tries)
        self._number -= 1
        number = self._number
        self._tries[number] = anyio.current_time()
        async with connection.transaction():
            buried = await connection.fetch(self._sql["bury"], self._owner)
            return buried, await connection.fetch(self._sql["adopt"], self._owner, _MOST, number, lost), number
