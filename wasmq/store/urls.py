"""Store URLs to stores."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from wasmq.errors import ConfigError
from wasmq.store.memory import MemoryStore

if TYPE_CHECKING:
    from wasmq.clock import Clock
    from wasmq.config import StoreConfig
    from wasmq.store.protocol import Store


def open_store(url: str, config: StoreConfig, clock: Clock) -> Store:
    """Return the store that a URL names; it is not open yet. Raises `ConfigError` for a URL that names none."""
    if url == "memory://":
        return MemoryStore(config, clock)
    if url.startswith(("postgresql://", "postgres://")):
        if importlib.util.find_spec("asyncpg") is None:
            raise ConfigError("scheduler.store: a store on PostgreSQL needs asyncpg: pip install 'wasmq[postgres]'")
        from wasmq.store.postgres import PostgresStore

        return PostgresStore(url, config, clock)
    raise ConfigError(
        f"scheduler.store: {url!r} names no store; write 'memory://' or 'postgresql://user@host/database'"
    )
