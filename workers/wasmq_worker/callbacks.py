"""What all callbacks of the engine share: whose call it is, the guest's memory, waiting, and a guest's end.

While a callback runs, `stage.guest` is the instance whose turn it is: one thread runs all guests, and no guest runs
inside another's call. Whatever goes wrong on our side ends that guest and no other: nothing is ever raised through
the engine.
"""

from __future__ import annotations

import ctypes
from struct import Struct
from typing import TYPE_CHECKING, Final

from wasmq_worker import capi, values
from wasmq_worker.guest import OutOfFuel
from wasmq_worker.wasi import Exit

if TYPE_CHECKING:
    from wasmq_worker.guest import Guest

_OUT_OF_FUEL: Final = 11  # wasmtime/trap.h
_MEMORY: Final = b"memory"
_EXTERN_MEMORY: Final = 3
_WRITABLE: Final = 0x200

_caller_export = capi.caller_export
_memory_data = capi.memory_data
_memory_size = capi.memory_data_size


class _Stage:
    """Who is on."""

    guest: Guest


stage = _Stage()

_extern = (ctypes.c_uint64 * 8)()
_extern_at = ctypes.addressof(_extern)
_memory_at = _extern_at + 8
_extern_fields = Struct("<B7xQQ").unpack_from  # the kind; which store, and which memory in it

_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.restype = ctypes.py_object
_view.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)


class NoMemory(Exception):
    """Raised when a guest calls a function that needs its memory, and exports none."""


class Failed(Exception):
    """Raised to end a guest in the middle of a call, for a reason that the message says; `code` is its trap's."""

    def __init__(self, message: str, code: str = "host") -> None:
        super().__init__(message)
        self.code = code


def memory_of(caller: int, context: int) -> memoryview:
    """Return the caller's memory as it is now: good until the guest runs again. Raises `NoMemory`."""
    if not _caller_export(caller, _MEMORY, 6, _extern_at):
        raise NoMemory
    kind, store, index = _extern_fields(_extern)
    if kind != _EXTERN_MEMORY:
        raise NoMemory
    # Looking costs half of what making a view does. A memory never moves: all that it may grow to is reserved.
    seen = (store, index, _memory_size(context, _memory_at))
    guest = stage.guest
    if guest.seen != seen:
        guest.memory = _view(_memory_data(context, _memory_at), seen[-1], _WRITABLE)
        guest.seen = seen
    return guest.memory


def find_memory(caller: int, context: int) -> tuple[int, int]:
    """Return address and size of the caller's memory: good until the guest runs again. Raises `NoMemory`."""
    if not _caller_export(caller, _MEMORY, 6, _extern_at) or _extern_fields(_extern)[0] != _EXTERN_MEMORY:
        raise NoMemory
    # An empty memory may have no address.
    return _memory_data(context, _memory_at) or 0, _memory_size(context, _memory_at)


class Continuation(ctypes.Structure):
    """`wasmtime_async_continuation_t`: what is called at each poll until it says that the call is done."""

    _fields_ = (("callback", ctypes.c_void_p), ("env", ctypes.c_void_p), ("finalizer", ctypes.c_void_p))
    callback: int | None


def _again(_env: int | None) -> bool:
    attempt = stage.guest.attempt
    return attempt is None or attempt()


_again_callback = capi.Continuation(_again)
AGAIN: Final = ctypes.cast(_again_callback, ctypes.c_void_p).value
"""The continuation that makes the guest's next `attempt`; without one the call is done."""


def again(continuation: int) -> None:
    """Have the engine ask at each poll whether what the guest waits for has come: see `Guest.attempt`."""
    Continuation.from_address(continuation).callback = AGAIN


_slots = [ctypes.c_char * (count * values.SIZE) for count in range(2)]


def slots_at(address: int, count: int) -> ctypes.Array[ctypes.c_char]:
    """Return the room for `count` values at an address, to be written to."""
    while len(_slots) <= count:
        _slots.append(ctypes.c_char * (len(_slots) * values.SIZE))
    return _slots[count].from_address(address)


def end(guest: Guest, name: str, error: BaseException) -> int:
    """Note why a guest ends inside a call, and return the trap that ends it."""
    match error:
        case OutOfFuel():
            code: int = capi.trap_new_code(_OUT_OF_FUEL)
            return code
        case Exit():
            guest.ended, guest.exit_code = True, error.code
        case Failed():
            guest.failure, guest.failure_code = str(error), error.code
        case NoMemory():
            guest.failure = f"{name} needs the guest's memory, and the guest exports none as 'memory'"
        case MemoryError():
            guest.failure = f"{name}: the machine has no memory left"
        case _:
            guest.failure = f"{name} failed in the host: {type(error).__name__}: {error}"
    message = (guest.failure or "exit").encode("utf-8", "replace")
    trap: int = capi.trap_new(message, len(message))
    return trap
