"""SQLite files: opened, checked to be ours, brought to the present schema."""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from typing import TYPE_CHECKING

from wasmq.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_APPLICATION = 0x77617371  # "wasq", in the file's header; sql/sqlite-0001.sql writes it
_OLDEST_LIBRARY = (3, 35, 0)  # UPDATE … FROM is of 3.33
_WAL_PAGES = 4_000  # the write-ahead log goes into the file when it has so many pages of 4 KiB
_STATEMENTS = 256  # prepared ones kept
_CACHE = 32 * 2**10  # KiB of pages kept: those of a long history's indexes that new jobs touch
_MAX_LOG = 64 * 2**20  # bytes that the log's file keeps when it has been longer


def migrations() -> list[str]:
    """Return the SQL of each schema version: the first makes version 1 of an empty file, and so on."""
    found = [file for file in files("wasmq.store").joinpath("sql").iterdir() if file.name.startswith("sqlite-")]
    return [file.read_text(encoding="utf-8") for file in sorted(found, key=lambda file: file.name)]


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection that writes, to a file of the present schema; makes the file if it is not there.

    Raises `ConfigError` in one line when it cannot be opened, is not ours, or is of a newer wasmq.
    """
    if sqlite3.sqlite_version_info < _OLDEST_LIBRARY:
        raise ConfigError(f"scheduler.store: SQLite {sqlite3.sqlite_version} is too old; 3.35 or later is needed")
    if not path.parent.is_dir():
        raise ConfigError(f"scheduler.store: {path}: there is no directory {path.parent}")
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS)
    except sqlite3.Error as error:
        raise ConfigError(f"scheduler.store: {path}: {error}") from None
    try:
        _prepare(connection, path, migrations())
    except sqlite3.Error as error:
        connection.close()
        raise ConfigError(f"scheduler.store: {path}: {error}") from None
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write, and so never moves the log either, to a file that `connect` prepared."""
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, path: Path, versions: Sequence[str]) -> None:
    version = _pragma(connection, "user_version")
    application = _pragma(connection, "application_id")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != _APPLICATION and (application or version or tables):
        raise ConfigError(f"scheduler.store: {path} is the database of another program; name a file that is not there")
    if version > len(versions):
        raise ConfigError(
            f"scheduler.store: {path} was written by a newer wasmq (schema {version}, this one knows {len(versions)}); "
            "install that one again"
        )
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = full")
    connection.execute("PRAGMA foreign_keys = on")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_MAX_LOG}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(version, len(versions)):
            for statement in _statements(versions[number]):
                connection.execute(statement)
        # Written even when it stays as it is: a file that is read-only shows with its first write, not before.
        connection.execute(f"PRAGMA user_version = {len(versions)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _statements(script: str) -> Iterator[str]:
    """Split a script: `executescript` would commit what is under way."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
