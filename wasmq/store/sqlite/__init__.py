"""Jobs in one SQLite file with one owner."""

from wasmq.store.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
