"""Store URLs to stores."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from wasmq.errors import ConfigError
from wasmq.store.memory import MemoryStore

if TYPE_CHECKING:
    from wasmq.clock import Clock
    from wasmq.config import StoreConfig
    from wasmq.store.protocol import Store

MEMORY: Final = "memory://"
"""Where an embedded scheduler keeps its jobs unless told otherwise."""
FILE: Final = "sqlite:///wasmq.db"
"""Where the daemon does."""
_SQLITE: Final = "sqlite:///"


def open_store(url: str, config: StoreConfig, clock: Clock) -> Store:
    """Return the store that a URL names; it is not open yet. Raises `ConfigError` for a URL that names none."""
    if url == MEMORY:
        return MemoryStore(config, clock)
    path = file_of(url)
    if path is not None:
        # Not before it is wanted: an embedded scheduler in memory is to begin quickly.
        from wasmq.store.sqlite import SQLiteStore

        return SQLiteStore(path, config, clock)
    if url.startswith(("postgresql://", "postgres://")):
        if importlib.util.find_spec("asyncpg") is None:
            raise ConfigError("scheduler.store: a store on PostgreSQL needs asyncpg: pip install 'wasmq[postgres]'")
        from wasmq.store.postgres import PostgresStore

        return PostgresStore(url, config, clock)
    raise ConfigError(
        f"scheduler.store: {without_password(url)!r} names no store; write 'memory://', 'sqlite:///relative.db', "
        "'sqlite:////absolute.db' or 'postgresql://user@host/database'"
    )


def modules_beside(url: str) -> Path | None:
    """Return where modules are kept that must last as long as the store's jobs; None where the store says nothing."""
    path = file_of(url)
    return None if path is None else path.with_name(f"{path.name}-modules")


def without_password(url: str) -> str:
    """Return a URL as it may be shown."""
    return re.sub(r"(?<=://)([^/@]*?):[^/]*@", r"\1@", url)


def file_of(url: str) -> Path | None:
    """Return the file of a store that is one; None of any other, and of a URL that names none."""
    name = unquote(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else ""
    usable = name and not name.endswith("/") and not set(url) & {"?", "#"} and "\0" not in name
    return Path(name) if usable else None
