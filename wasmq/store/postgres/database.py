"""Connections to a PostgreSQL server that may go away: what fails is tried again, and given up with one clear error."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import anyio
import asyncpg

from wasmq.errors import ConfigError, ResourceUnavailable, StoreUnavailable
from wasmq.logs import get_logger
from wasmq.store.scripts import migrations

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Connection: TypeAlias = asyncpg.Connection
_T = TypeVar("_T")

_CONNECTIONS: Final = 8  # of one daemon, besides the one that listens
_CONNECT: Final = 5.0  # seconds
_PAUSES: Final = (0.05, 2.0)  # seconds between two tries: at first, and at most
_OLDEST: Final = 12  # the first server whose syntax and planner this has been written for
_LOCKS: Final = 0x7761736D  # the class of our advisory locks, "wasm"; the object is the schema's own number
_SETTINGS: Final = """
    SET statement_timeout = {milliseconds};
    SET idle_in_transaction_session_timeout = {milliseconds};
    -- Arrays of one job and of a thousand want different plans, and statistics of a queue are always out of date.
    SET plan_cache_mode = force_custom_plan;
    SET jit = off;
    SET default_transaction_isolation = 'read committed';
"""

TRANSIENT: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that was cut in the wrong moment
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""What a server that goes away, restarts, or has no room just now makes of a statement. Nothing is known then of
whether it was carried out."""


class Database:
    """One daemon's connections to its database.

    `patience` is how many seconds one statement may take, and for how long what failed is tried again: at most twice
    as long, all together.
    """

    def __init__(self, url: str, patience: float) -> None:
        self._url = url
        self._patience = patience
        self._pool: asyncpg.Pool | None = None
        self._log = get_logger()
        self.place = place_of(url)
        """What errors call the database: without a password."""
        self.lock = 0
        """The number of our schema, for advisory locks."""
        self.reachable = False

    async def open(self) -> None:
        """Connect, and bring the tables to the newest version. Raises `ConfigError` saying what is in the way."""
        try:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=0,  # or the pool itself would try, and log, to have so many while the server is away
                max_size=_CONNECTIONS,
                timeout=_CONNECT,
                command_timeout=self._patience,
                max_inactive_connection_lifetime=300.0,
                init=self._prepare,
                # There is nothing to reset: no statement of ours changes its session.
                reset=_leave,
            )
            async with self._pool.acquire() as connection:
                await self._migrate(connection)
        except ConfigError:
            await self.close()
            raise
        except (*TRANSIENT, ValueError, asyncpg.PostgresError) as error:
            await self.close()
            self._refuse(error)
        self.reachable = True

    async def close(self) -> None:
        """Close every connection, at once where the server does not answer."""
        pool, self._pool = self._pool, None
        self.reachable = False
        if pool is None:
            return
        with anyio.move_on_after(_CONNECT) as scope:
            await pool.close()
        if scope.cancelled_caught:
            pool.terminate()

    async def run(self, work: Callable[[Connection, int], Awaitable[_T]]) -> _T:
        """Do `work` on a connection, again while the server is away; its second argument counts the earlier tries.

        Raises `StoreUnavailable` once the patience is spent: then nobody knows whether the last try was carried out.
        """
        tries = 0
        until = anyio.current_time() + self._patience
        while True:
            try:
                async with self._acquire() as connection:
                    try:
                        result = await work(connection, tries)
                    except asyncpg.InternalClientError:
                        connection.terminate()
                        raise
            except TRANSIENT as error:
                if isinstance(error, ValueError):  # asyncpg's way to say that an argument does not fit
                    raise
                tries += 1
                pause = min(_PAUSES[1], _PAUSES[0] * 2.0**tries) * random.uniform(0.5, 1.0)
                if self._pool is None or anyio.current_time() + pause > until:
                    self._lost(error)
                await anyio.sleep(pause)
            else:
                if not self.reachable:
                    self.reachable = True
                    self._log.info("store.back", store=self.place)
                return result

    async def connect(self) -> Connection:
        """Return a connection of the caller's own, which is tried once. Raises `StoreUnavailable`."""
        try:
            return await asyncpg.connect(self._url, timeout=_CONNECT, command_timeout=self._patience)
        except TRANSIENT as error:
            self._lost(error)

    async def fetch(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Run one statement that may be repeated, and return its rows. Raises `StoreUnavailable`."""
        return await self.run(lambda connection, _: connection.fetch(statement, *values))

    async def execute(self, statement: str, *values: Any) -> None:
        """Run one statement that may be repeated. Raises `StoreUnavailable`."""
        await self.run(lambda connection, _: connection.execute(statement, *values))

    async def try_lock(self, connection: Connection) -> bool:
        """Take our schema's advisory lock until the transaction ends; False while another has it."""
        got: bool = await connection.fetchval("SELECT pg_try_advisory_xact_lock($1, $2)", _LOCKS, self.lock)
        return got

    async def _prepare(self, connection: Connection) -> None:
        await connection.execute(_SETTINGS.format(milliseconds=int(self._patience * 1000)))

    def _acquire(self) -> Any:
        if self._pool is None:
            raise StoreUnavailable(f"the store is closed: {self.place}")
        return self._pool.acquire(timeout=self._patience)

    def _lost(self, error: BaseException) -> NoReturn:
        if self.reachable:
            self.reachable = False
            self._log.warning("store.unavailable", store=self.place, error=_line(error))
        raise StoreUnavailable(
            f"the store does not answer: {self.place}: {_line(error)}; what was accepted is safe there, try again later"
        ) from error

    async def _migrate(self, connection: Connection) -> None:
        if (version := connection.get_server_version().major) < _OLDEST:
            raise ConfigError(f"{self.place}: its server is PostgreSQL {version}; wasmq needs {_OLDEST} or later")
        scripts = migrations("postgres")
        async with connection.transaction():
            self.lock = await connection.fetchval("SELECT hashtext(current_schema())")
            if self.lock is None:
                raise ConfigError(f"{self.place}: none of the schemas in its search_path exists; create one")
            await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", _LOCKS, self.lock)
            if await connection.fetchval("SELECT to_regclass('wasmq_schema') IS NULL"):
                await connection.execute("CREATE TABLE wasmq_schema (version integer NOT NULL)")
                await connection.execute("INSERT INTO wasmq_schema VALUES (0)")
            version = await connection.fetchval("SELECT version FROM wasmq_schema")
            if version > len(scripts):
                raise ConfigError(
                    f"{self.place}: its tables are of version {version}, this wasmq knows {len(scripts)} at most; "
                    "upgrade wasmq, or name another database"
                )
            for script in scripts[version:]:
                await connection.execute(script)
            if version < len(scripts):
                await connection.execute("UPDATE wasmq_schema SET version = $1", len(scripts))

    def _refuse(self, error: BaseException) -> NoReturn:
        kind: type[ConfigError] = ConfigError
        match error:
            case asyncpg.InvalidAuthorizationSpecificationError():
                why = f"the user is refused ({_line(error)}); correct the user or the password (URL or PGPASSWORD)"
            case asyncpg.InvalidCatalogNameError():
                why = "there is no such database; create it (createdb), or correct the URL"
            case asyncpg.InsufficientPrivilegeError():
                why = f"the user lacks a right ({_line(error)}); make it the owner of the database or schema"
            case asyncpg.ReadOnlySQLTransactionError():
                why = "the server only takes reads (a standby?); name the primary"
            case asyncpg.PostgresConnectionError() | asyncpg.CannotConnectNowError() | OSError() | TimeoutError():
                kind = ResourceUnavailable
                why = f"no PostgreSQL server answers there ({_line(error)}); start it, or correct the URL"
            case ValueError():
                # What it says may have a piece of the URL in it, password and all.
                why = "its URL cannot be read; write postgresql://user@host:port/database"
            case _:
                why = f"it cannot be used ({_line(error)})"
        raise kind(f"scheduler.store: {self.place}: {why}") from None


def place_of(url: str) -> str:
    """Return a store's URL with nothing in it that is secret: scheme, user, host and database."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2] or unquote(parse_qs(parts.query).get("host", [""])[0])
    except ValueError:
        return "postgresql://"
    user = f"{parts.username}@" if parts.username else ""
    host = host or os.environ.get("PGHOST", "")
    return f"postgresql://{user}{host}/{parts.path.lstrip('/')}"


def _line(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200]}" if words else type(error).__name__


async def _leave(_connection: Connection) -> None:
    """Leave a connection that goes back to the pool as it is."""
