"""Where jobs live: one `Store` protocol, and what implements it."""

from wasmq.store.memory import MemoryStore
from wasmq.store.protocol import Cancellation, Fate, Finished, Glance, JobRecord, Loop, SharedStore, Store
from wasmq.store.urls import open_store

__all__ = [
    "Cancellation",
    "Fate",
    "Finished",
    "Glance",
    "JobRecord",
    "Loop",
    "MemoryStore",
    "SharedStore",
    "Store",
    "open_store",
]
