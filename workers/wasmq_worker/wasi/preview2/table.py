"""`INTERFACES` with everything in it."""

from __future__ import annotations

from wasmq_worker.wasi.preview2 import (
    descriptor_calls,
    http_calls,
    path_calls,
    process_calls,
    socket_calls,
    stream_calls,
    time_calls,
)
from wasmq_worker.wasi.preview2.interface import INTERFACES

# Importing a module of functions enters them in the table.
MODULES = (descriptor_calls, http_calls, path_calls, process_calls, socket_calls, stream_calls, time_calls)

__all__ = ["INTERFACES"]
