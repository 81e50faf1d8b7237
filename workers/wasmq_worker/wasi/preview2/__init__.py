"""WASI 0.2 over the same `World` as preview 1, for components.

`INTERFACES` has every function that a component may import, each with its type; `State` is what the handles of one
instance stand for. Nothing here reaches anything but the world.
"""

from wasmq_worker.wasi.preview2.interface import Function, Interface
from wasmq_worker.wasi.preview2.outcome import Case, Err, Ok
from wasmq_worker.wasi.preview2.state import State
from wasmq_worker.wasi.preview2.table import INTERFACES

__all__ = ["INTERFACES", "Case", "Err", "Function", "Interface", "Ok", "State"]
