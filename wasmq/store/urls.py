"""Store URLs to stores."""

from __future__ import annotations

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
    raise ConfigError(f"scheduler.store: {url!r} names no store; write 'memory://'")
