"""What the engine says when a guest ends badly, in our words: a stable code, one line, a backtrace."""

from __future__ import annotations

import ctypes
from typing import Final

from wasmq_worker import capi
from wasmq_worker.protocol import Backtrace

OUT_OF_FUEL: Final = "out_of_fuel"
UNCAUGHT: Final = "uncaught_exception"
THROWN: Final = "thrown Wasm exception"
"""What the library says of an exception that left the guest: an error, not a trap."""
MAX_BACKTRACE: Final = 32
"""Frames kept, the innermost; a deep recursion has thousands."""
MAX_NAME: Final = 200
"""Bytes kept of a function's name, which the guest chose."""
_UNKNOWN_OFFSET: Final = 2**63  # the library says 2**64 - 1 where it has no offset, as at a stack overflow

# By wasmtime's own numbers (wasmtime/trap.h); codes and words follow the specification's test-suite.
BY_CODE: Final = {
    0: ("stack_overflow", "call stack exhausted"),
    1: ("memory_out_of_bounds", "out of bounds memory access"),
    2: ("unaligned_atomic", "unaligned atomic access"),
    3: ("table_out_of_bounds", "out of bounds table access"),
    4: ("indirect_call_to_null", "indirect call to a null table element"),
    5: ("indirect_call_type_mismatch", "indirect call type mismatch"),
    6: ("integer_overflow", "integer overflow"),
    7: ("integer_divide_by_zero", "integer divide by zero"),
    8: ("invalid_conversion_to_integer", "invalid conversion to integer"),
    9: ("unreachable", "unreachable code executed"),
    11: (OUT_OF_FUEL, "out of fuel"),
    13: ("null_reference", "null reference used"),
    14: ("array_out_of_bounds", "out of bounds array access"),
    15: ("allocation_too_large", "allocation too large"),
    16: ("cast_failure", "cast failure"),
    49: (UNCAUGHT, "exception thrown and not caught"),
}


def take_trap(trap: int) -> tuple[str, str, tuple[Backtrace, ...]]:
    """Return a trap's code, its one line and its backtrace, innermost frame first; and free it."""
    code = ctypes.c_uint8()
    known = BY_CODE.get(code.value) if capi.trap_code(trap, ctypes.addressof(code)) else None
    if known is None:
        vector = capi.Vector()
        capi.trap_message(trap, ctypes.addressof(vector))
        message = capi.take_bytes(vector).decode("utf-8", "replace").rstrip("\0")
        known = ("other", message.splitlines()[0] if message else "unknown trap")
    backtrace = _backtrace(trap) if known[0] != OUT_OF_FUEL else ()
    capi.trap_delete(trap)
    return *known, backtrace


def _backtrace(trap: int) -> tuple[Backtrace, ...]:
    vector = capi.Vector()
    capi.trap_trace(trap, ctypes.addressof(vector))
    return take_frames(vector)


def take_frames(vector: capi.Vector) -> tuple[Backtrace, ...]:
    """Return the innermost frames of a backtrace, and free it."""
    if not vector.size or not vector.data:
        return ()
    pointers = (ctypes.c_void_p * vector.size).from_address(vector.data)
    frames = tuple(_frame(pointer) for pointer in pointers[:MAX_BACKTRACE] if pointer)
    capi.frames_delete(ctypes.addressof(vector))
    return frames


def _frame(pointer: int) -> Backtrace:
    name = None
    if name_pointer := capi.frame_name(pointer):
        view = capi.Vector.from_address(name_pointer)
        if view.size and view.data:
            name = ctypes.string_at(view.data, min(view.size, MAX_NAME)).decode("utf-8", "replace")
    offset = capi.frame_offset(pointer)
    return Backtrace(capi.frame_function(pointer), name, offset if offset < _UNKNOWN_OFFSET else None)
