"""The store, looked at without changing it: whether it is there, whole, ours, and of a version that we know."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from wasmq.doctor.finding import Finding, failed, ok, warning
from wasmq.store.scripts import migrations
from wasmq.store.sqlite.schema import connect_to_read
from wasmq.store.sqlite.schema import migrations as sqlite_migrations
from wasmq.store.urls import MEMORY, file_of, without_password

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 5.0
"""Seconds in which a server must have answered."""


async def examine(url: str) -> Finding:
    """Look at the store behind a URL."""
    if url == MEMORY:
        return ok("store", "memory://: jobs end with the process")
    if (path := file_of(url)) is not None:
        return await anyio.to_thread.run_sync(_file, path)
    return await _server(url)


def _file(path: Path) -> Finding:
    if not path.exists():
        if not path.parent.is_dir():
            return failed("store", f"{path}: there is no directory {path.parent}", "make it, for the daemon's user")
        return ok("store", f"{path} is not there yet; the daemon will make it")
    try:
        connection = connect_to_read(path.absolute())
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            # A tenth of an index's pages would do; of a large file even this takes seconds.
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            (jobs,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return failed("store", f"{path}: {error}", "see docs/operations.md: restore the last backup")
    if state != "ok":
        return failed("store", f"{path} is damaged: {state}", "see docs/operations.md: restore the last backup")
    return _of_version(str(path), version, len(sqlite_migrations()), f", {jobs} jobs")


async def _server(url: str) -> Finding:
    name = without_password(url)
    try:
        import asyncpg
    except ImportError:
        return failed("store", f"{name}: asyncpg is not installed", "pip install 'wasmq[postgres]'")
    try:
        with anyio.fail_after(PATIENCE):
            connection = await asyncpg.connect(url, timeout=PATIENCE)
            try:
                there = await connection.fetchval("SELECT to_regclass('wasmq_schema') IS NOT NULL")
                version = await connection.fetchval("SELECT version FROM wasmq_schema") if there else 0
            finally:
                await connection.close(timeout=1.0)
    except TimeoutError:
        return failed(
            "store", f"{name}: no answer within {PATIENCE:g} s", "see that the server runs and can be reached"
        )
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return failed("store", f"{name}: {' '.join(str(error).split())}", "see that the server runs and lets us in")
    return _of_version(name, version, len(migrations("postgres")), "")


def _of_version(name: str, version: int, newest: int, rest: str) -> Finding:
    if version > newest:
        return failed("store", f"{name}: schema {version}, this wasmq knows {newest}", "install the newer wasmq again")
    if version < newest and version:
        return warning("store", f"{name}: schema {version} of {newest}", "back up; the next start brings it up to date")
    return ok("store", f"{name}: {'empty' if not version else f'schema {version}'}{rest}")
