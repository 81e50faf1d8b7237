"""WASI 0.2 over the same `World` as preview 1, for components.

`INTERFACES` has every function that a component may import, each with its type; `State` is what the handles of one
instance stand for. Nothing here reaches anything but the world.
"""

from wasmq_worker.wasi.preview2 import (
    descriptor_calls,
    path_calls,
    process_calls,
    socket_calls,
    stream_calls,
    time_calls,
)
from wasmq_worker.wasi.preview2.interface import INTERFACES, Function, Interface
from wasmq_worker.wasi.preview2.outcome import Case, Err, Ok
from wasmq_worker.wasi.preview2.state import State

# Importing a module of functions enters them in the table.
MODULES = (descriptor_calls, path_calls, process_calls, socket_calls, stream_calls, time_calls)

__all__ = ["INTERFACES", "Case", "Err", "Function", "Interface", "Ok", "State"]
