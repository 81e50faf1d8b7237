"""Where jobs live: one `Store` protocol, and what implements it."""

from wasmq.store.memory import MemoryStore
from wasmq.store.protocol import Cancellation, Finished, JobRecord, Store
from wasmq.store.urls import open_store

__all__ = ["Cancellation", "Finished", "JobRecord", "MemoryStore", "Store", "open_store"]
