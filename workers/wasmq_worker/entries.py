"""Functions of ours that the engine calls, any number of them through one C callback of each type.

A callback is machine code that is written when it is made. All of it is made when this module is imported, so that the
memory it lies in can be sealed (see `wasmq_worker.sandbox.code`); what is offered to guests later gets a number, which
the engine hands back as the callback's environment.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

from wasmq_worker import capi

if TYPE_CHECKING:
    from collections.abc import Callable


class Entries:
    """The functions behind one C callback, which is at `address`."""

    def __init__(self, prototype: Any) -> None:
        self._functions: dict[int, Callable[..., Any]] = {}
        self._next = 1  # 0 would come back as None
        functions = self._functions

        def enter(env: int, *rest: Any) -> Any:
            return functions[env](env, *rest)

        self._callback = prototype(enter)
        self.address: int = ctypes.cast(self._callback, ctypes.c_void_p).value or 0

    def add(self, function: Callable[..., Any]) -> int:
        """Return the environment with which the callback calls this function, until it is removed."""
        number = self._next
        self._next += 1
        self._functions[number] = function
        return number

    def remove(self, number: int) -> None:
        """Forget a function: nothing that could call it may be left."""
        del self._functions[number]


direct: Final = Entries(capi.HostFunction)
waiting: Final = Entries(capi.AsyncHostFunction)
component_direct: Final = Entries(capi.ComponentFunction)
component_waiting: Final = Entries(capi.ComponentAsyncFunction)
component_destructor: Final = Entries(capi.ComponentDestructor)
