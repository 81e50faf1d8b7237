"""A PostgreSQL server for tests: the one that WASMQ_TEST_POSTGRES names, or one from this machine's binaries."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import asyncpg
import pytest

_VARIABLE = "WASMQ_TEST_POSTGRES"
_FAST = 60  # seconds that starting or stopping a server may take


class Cluster:
    """A server with a data directory and a Unix socket of its own, and no port. It keeps `fsync` on."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        # A server does not run as root; a socket's path must be short.
        self._user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        self.directory = Path(tempfile.mkdtemp(prefix="wq-", dir="/tmp"))
        self._data = self.directory / "data"
        if self._user:
            account = pwd.getpwnam("postgres")
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        self._do("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        # One user that needs a password, so that a wrong one can be tried.
        rules = self._data / "pg_hba.conf"
        rules.write_text("local all locked scram-sha-256\n" + rules.read_text())
        self.start()

    @property
    def url(self) -> str:
        """The server's database for administration."""
        return f"postgresql://postgres@/postgres?host={self.directory}"

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        self._do("pg_ctl", "-D", self._data, "-l", self.directory / "log", "-o", self._options(), "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "fast" cuts every connection, "immediate" is as if it had crashed."""
        self._do("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def remove(self) -> None:
        """Stop the server for good and remove its files."""
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _options(self) -> str:
        return f"-c listen_addresses='' -c unix_socket_directories={self.directory} -c max_connections=60"

    def _prefix(self) -> list[str]:
        """Return what stands before each command: a wrapper that gives rights up itself, or nothing."""
        return []

    def _do(self, program: str, *arguments: object) -> None:
        # Not into a pipe: the server would keep it open.
        prefix = self._prefix()
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [*prefix, self._binaries / program, *map(str, arguments)],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=_FAST,
                check=False,
                **({} if prefix else self._user),
            )
            output.seek(0)
            assert done.returncode == 0, f"{program}: {output.read().decode()}"


def server_binaries() -> Path | None:
    """Return where this machine has a server's programs, None where it has none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


@functools.cache
def private_cluster() -> Cluster:
    """The private server of this run, started at the first call. Without binaries the test is skipped, in CI fails."""
    binaries = server_binaries()
    if binaries is None:
        missing("no initdb on the path or under /usr/lib/postgresql")
    cluster = Cluster(binaries)
    atexit.register(cluster.remove)
    return cluster


def missing(reason: str) -> None:
    """Skip a test that needs a server, with the reason; in CI fail it."""
    text = f"{reason}; apt-get install postgresql, or set {_VARIABLE}=postgresql://…"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def server_url() -> str:
    """The server to test against, starting it if need be."""
    return os.environ.get(_VARIABLE) or private_cluster().url


async def make_schema(server: str) -> str:
    """Make a new empty schema, and return the URL of a store in it."""
    name = f"t_{secrets.token_hex(8)}"
    await execute(server, f"CREATE SCHEMA {name}")
    return f"{server}{'&' if '?' in server else '?'}search_path={name}"


async def execute(url: str, statement: str, *values: object) -> list[asyncpg.Record]:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


async def drop_schema(url: str) -> None:
    """Drop what `make_schema` made."""
    server, _, name = url.rpartition("search_path=")
    await execute(server[:-1], f"DROP SCHEMA {name} CASCADE")
