"""`wasi_snapshot_preview1`: every function by name, with its core signature."""

from __future__ import annotations

from wasmq_worker.wasi import descriptor_calls, path_calls, process_calls
from wasmq_worker.wasi.abi import FUNCTIONS

# Importing a module of functions enters them in the table.
MODULES = (descriptor_calls, path_calls, process_calls)

__all__ = ["FUNCTIONS"]
