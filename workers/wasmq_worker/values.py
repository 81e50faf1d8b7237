"""Core values to and from the C API's `wasmtime_val_t`: a kind byte, seven bytes of padding, a union of 24 bytes.

A NaN keeps its bits. As a Python float an f32's NaN is the f64 NaN with the same sign and the payload moved up, quiet
or signalling as it was; the processor's own conversion would make every NaN quiet.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from wasmq_worker import capi
from wasmq_worker.protocol import Reference

if TYPE_CHECKING:
    import ctypes

    from wasmq_worker.protocol import Value

SIZE: Final = 32
_FUNC, _EXTERN, _ANY, _EXN = 5, 6, 7, 8
KINDS: Final = {
    "i32": 0,
    "i64": 1,
    "f32": 2,
    "f64": 3,
    "v128": 4,
    "funcref": _FUNC,
    "nullfuncref": _FUNC,
    "externref": _EXTERN,
    "nullexternref": _EXTERN,
    "anyref": _ANY,
    "eqref": _ANY,
    "i31ref": _ANY,
    "structref": _ANY,
    "arrayref": _ANY,
    "nullref": _ANY,
    "exnref": _EXN,
    "nullexnref": _EXN,
}
"""The C API's number for each type that can be passed to a guest; of a reference, only null."""
_MARKERS: Final = {_FUNC: "funcref", _EXTERN: "externref", _ANY: "anyref", _EXN: "exnref"}
_BODIES: Final = {"i32": "i20x", "i64": "q16x", "f32": "f20x", "f64": "d16x", "v128": "16s8x"}
_NULL: Final = "Q16x"

_reference = struct.Struct("<B7xQ")
_u32 = struct.Struct("<I")
_u64 = struct.Struct("<Q")
_f64 = struct.Struct("<d")


class Layout:
    """How one signature's parameters and results lie in memory; made once per exported function."""

    __slots__ = ("_flat", "_pack", "_references", "_singles_in", "_singles_out", "_unpack", "params", "results")

    def __init__(self, params: tuple[str, ...], results: tuple[str, ...]) -> None:
        self.params = len(params)
        self.results = len(results)
        # Kinds and room for the arguments between them.
        self._flat: list[Value] = [part for param in params for part in (KINDS[param], 0)]
        self._pack = struct.Struct("<" + "".join("B7x" + _BODIES.get(param, _NULL) for param in params))
        self._unpack = struct.Struct("<" + "".join("8x" + _BODIES.get(result, _NULL) for result in results))
        self._singles_in = tuple([place for place, param in enumerate(params) if param == "f32"])
        self._singles_out = tuple([place for place, result in enumerate(results) if result == "f32"])
        self._references = tuple([place for place, result in enumerate(results) if result not in _BODIES])

    def write(self, buffer: bytearray | ctypes.Array[ctypes.c_char], offset: int, args: tuple[Value, ...]) -> None:
        """Lay the arguments down at `offset`. Raises `ValueError` or `struct.error` when they do not fit."""
        flat = self._flat.copy()
        flat[1::2] = [0 if arg is None else arg for arg in args] if None in args else args
        self._pack.pack_into(buffer, offset, *flat)
        for place in self._singles_in:
            arg = args[place]
            if arg != arg and isinstance(arg, float):
                _u32.pack_into(buffer, offset + place * SIZE + 8, _narrow(arg))

    def read(self, buffer: bytearray | bytes, address: int, offset: int) -> tuple[Value, ...]:
        """Return the results that lie at `offset` of a buffer at `address`, once: references are given back.

        A reference is None when it is null, else a `Reference`.
        """
        values = self._unpack.unpack_from(buffer, offset)
        if not self._singles_out and not self._references:
            return values
        found = list(values)
        for place in self._singles_out:
            if found[place] != found[place]:
                found[place] = _widen(_u32.unpack_from(buffer, offset + place * SIZE + 8)[0])
        for place in self._references:
            kind, store = _reference.unpack_from(buffer, offset + place * SIZE)
            found[place] = Reference(_MARKERS.get(kind, "anyref")) if store else None
            capi.val_unroot(address + offset + place * SIZE)
        return tuple(found)


def _widen(bits: int) -> float:
    """Return an f32's NaN as a float."""
    wide = (bits >> 31) << 63 | 0x7FF << 52 | (bits & 0x7F_FFFF) << 29
    number: float = _f64.unpack(_u64.pack(wide))[0]
    return number


def _narrow(number: float) -> int:
    """Return a NaN as the bits of an f32; a payload that has no room is the canonical one."""
    wide: int = _u64.unpack(_f64.pack(number))[0]
    payload = wide >> 29 & 0x7F_FFFF
    return (wide >> 63) << 31 | 0x7F80_0000 | (payload or 0x40_0000)
