"""Core values to and from the C API's `wasmtime_val_t`: a kind byte, seven bytes of padding, a union of 24 bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ctypes

    from wasmq_worker.protocol import Value

SIZE: Final = 32
KINDS: Final = {"i32": 0, "i64": 1, "f32": 2, "f64": 3, "v128": 4}
_BODIES: Final = {"i32": "i20x", "i64": "q16x", "f32": "f20x", "f64": "d16x", "v128": "16s8x"}


class Layout:
    """How one signature's parameters and results lie in memory; made once per exported function."""

    __slots__ = ("_flat", "_pack", "_unpack", "params", "results")

    def __init__(self, params: tuple[str, ...], results: tuple[str, ...]) -> None:
        self.params = len(params)
        self.results = len(results)
        # Kinds and room for the arguments between them.
        self._flat: list[Value] = [part for param in params for part in (KINDS[param], 0)]
        self._pack = struct.Struct("<" + "".join("B7x" + _BODIES[param] for param in params))
        self._unpack = struct.Struct("<" + "".join("8x" + _BODIES[result] for result in results))

    def write(self, buffer: bytearray | ctypes.Array[ctypes.c_char], offset: int, args: tuple[Value, ...]) -> None:
        """Lay the arguments down at `offset`. Raises `ValueError` or `struct.error` when they do not fit."""
        flat = self._flat.copy()
        flat[1::2] = args
        self._pack.pack_into(buffer, offset, *flat)

    def read(self, buffer: bytearray | bytes, offset: int) -> tuple[Value, ...]:
        """Return the results that lie at `offset`."""
        return self._unpack.unpack_from(buffer, offset)
