"""The hint loops: daemons tell each other that something happened, never what, and never rely on it.

A `NOTIFY` takes a lock of the whole server when its transaction commits, so it is sent by itself, with nothing in it
but who sent it, and at most once in 50 ms. Whoever misses one looks anyway, a second later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import asyncpg

from wasmq.bell import Bell
from wasmq.errors import StoreUnavailable
from wasmq.store.postgres.database import TRANSIENT

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from wasmq.store.postgres.database import Database

_APART: Final = 0.05  # seconds between two hints of one daemon
_AGAIN: Final = 2.0  # seconds before the next try to listen
_PROBE: Final = 15.0  # seconds between two looks at whether the connection that listens still is one


class Hints:
    """Sends the hints of the daemon `owner`."""

    def __init__(self, database: Database, owner: int) -> None:
        self._database = database
        self._owner = owner
        self._bell = Bell()
        self._closed = False

    def give(self) -> None:
        """Let the others know soon."""
        self._bell.ring()

    def close(self) -> None:
        """End the loop."""
        self._closed = True
        self._bell.ring()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Send until closed."""
        task_status.started()
        while True:
            await self._bell.wait()
            if self._closed:
                return
            try:
                await self._database.execute(f"NOTIFY {channel_of(self._database)}, '{self._owner}'")
            except StoreUnavailable:
                continue
            await anyio.sleep(_APART)


class Listener:
    """Hears the hints of others than `owner` and rings `changed`; also when it could not listen for a while."""

    def __init__(self, database: Database, owner: int, changed: Bell) -> None:
        self._database = database
        self._owner = str(owner)
        self._changed = changed
        self._lost = Bell()
        self._closed = False

    def close(self) -> None:
        """End the loop."""
        self._closed = True
        self._lost.ring()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Listen until closed."""
        task_status.started()
        while not self._closed:
            try:
                await self._listen()
            except (StoreUnavailable, *TRANSIENT, asyncpg.PostgresError):
                # The database itself says so where it matters; here only hints are missed.
                await self._lost.wait(_AGAIN)

    async def _listen(self) -> None:
        connection = await self._database.connect()
        lost = self._lost = Bell()  # the one before is rung by its own connection's end
        try:
            connection.add_termination_listener(lambda _: lost.ring())
            await connection.add_listener(channel_of(self._database), self._heard)
            self._changed.ring()
            while not self._closed and not await lost.wait(_PROBE):
                await connection.execute("SELECT 1")
        finally:
            connection.terminate()

    def _heard(self, _connection: object, _pid: int, _channel: str, sender: str) -> None:
        if sender != self._owner:
            self._changed.ring()


def channel_of(database: Database) -> str:
    """Return the channel of the daemons that share a database's schema: channels are the whole database's."""
    return f"wasmq_{database.lock & 0xFFFFFFFF:08x}"
