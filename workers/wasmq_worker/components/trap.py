"""What the engine says when a component ends badly: an error whose causes say which trap it was."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from wasmq_worker import capi
from wasmq_worker.engine import one_line
from wasmq_worker.traps import BY_CODE, OUT_OF_FUEL, THROWN, UNCAUGHT, take_frames

if TYPE_CHECKING:
    from wasmq_worker.protocol import Backtrace

# The engine's own bound: 128 MiB of values, which is 4 MiB of a list<u8>.
_TOO_MUCH: Final = "fuel allocated for hostcalls has been exhausted"
_PREFIX: Final = "wasm trap: "
# The library gives an error no code; these are its words for traps, by the same numbers as in `traps`.
_WORDS: Final = {
    "call stack exhausted": 0,
    "out of bounds memory access": 1,
    "misaligned memory access": 2,
    "undefined element: out of bounds table access": 3,
    "uninitialized element": 4,
    "indirect call type mismatch": 5,
    "integer overflow": 6,
    "integer divide by zero": 7,
    "invalid conversion to integer": 8,
    "wasm `unreachable` instruction executed": 9,
    "all fuel consumed by WebAssembly": 11,
    "null reference": 13,
    "null i31 reference": 13,
    "out of bounds array access": 14,
    "allocation size too large": 15,
    "cast failure": 16,
    "uncaught exception": 49,
}


def take_failure(error: int) -> tuple[str, str, tuple[Backtrace, ...]]:
    """Return an error's code, its one line and its backtrace, innermost frame first; and free it."""
    vector = capi.Vector()
    capi.error_trace(error, ctypes.addressof(vector))
    backtrace = take_frames(vector)
    # Names of functions, which the guest chose, come first; the cause is the last line.
    message = one_line(capi.take_error(error))
    cause = message.rpartition("; ")[2]
    if cause == THROWN:
        return UNCAUGHT, cause, backtrace
    if cause.endswith(_TOO_MUCH):
        return "host", "more data is passed between the guest and its host at once than the engine allows", backtrace
    if not cause.startswith(_PREFIX):
        return "other", message, backtrace
    words = cause.removeprefix(_PREFIX)
    if (number := _WORDS.get(words)) is None:
        return "other", words, backtrace
    code, text = BY_CODE[number]
    return code, text, () if code == OUT_OF_FUEL else backtrace
