"""JSON values of the specification's test-suite, as the public API takes and gives them, and as WebAssembly text."""

from __future__ import annotations

import math
import struct
from typing import Any

from wasmq.job import Reference

LANES = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "f32": 32, "f64": 64}
# What a reference that is not null comes out as, by the type that the suite expects.
KINDS = {
    "funcref": "funcref",
    "externref": "externref",
    "exnref": "exnref",
    **dict.fromkeys(("anyref", "eqref", "i31ref", "structref", "arrayref"), "anyref"),
}


class NotOffered(Exception):
    """Raised with the reason when the public API has no way to say something."""


def signed(bits: int, width: int) -> int:
    """The number that two's complement has for these bits."""
    bits &= (1 << width) - 1
    return bits - (1 << width) if bits >> (width - 1) else bits


def float_of(bits: int, width: int) -> float:
    """A float with these bits; an f32's NaN moved up, as the API has it."""
    if width == 64:
        return struct.unpack("<d", struct.pack("<Q", bits))[0]
    if bits & 0x7FFF_FFFF > 0x7F80_0000:
        return float_of((bits >> 31) << 63 | 0x7FF << 52 | (bits & 0x7F_FFFF) << 29, 64)
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def bits_of(number: float, width: int) -> int:
    """The bits of a float that the API gave."""
    wide = struct.unpack("<Q", struct.pack("<d", number))[0]
    if width == 64:
        return wide
    if math.isnan(number):
        return (wide >> 63) << 31 | 0x7F80_0000 | (wide >> 29 & 0x7F_FFFF)
    return struct.unpack("<I", struct.pack("<f", number))[0]


def argument(value: dict[str, Any]) -> Any:
    """A JSON value as an argument. Raises `NotOffered`."""
    kind, text = value["type"], value.get("value")
    match kind:
        case "i32" | "i64":
            return int(text)
        case "f32" | "f64":
            return float_of(int(text), int(kind[1:]))
        case "v128":
            return vector(value)
        case _ if text == "null" or kind.startswith("null") or kind == "refnull":
            return None
        case _:
            raise NotOffered(f"a {kind} that is not null as an argument")


def vector(value: dict[str, Any]) -> bytes:
    """The bytes of a v128."""
    width = LANES[value["lane_type"]]
    return b"".join([(int(lane) % (1 << width)).to_bytes(width // 8, "little") for lane in value["value"]])


def constant(value: dict[str, Any]) -> str:
    """A JSON value as instructions that push it. Raises `NotOffered`."""
    kind, text = value["type"], value.get("value")
    match kind:
        case "i32" | "i64":
            return f"{kind}.const {int(text)}"
        case "f32":
            return f"i32.const {int(text)} f32.reinterpret_i32"
        case "f64":
            return f"i64.const {int(text)} f64.reinterpret_i64"
        case "v128":
            lanes = " ".join([str(lane) for lane in vector(value)])
            return f"v128.const i8x16 {lanes}"
        case _ if text == "null" and kind in KINDS:
            return f"ref.null {kind.removesuffix('ref')}"
        case _:
            raise NotOffered(f"a {kind} that is not null as an argument")


def agrees(wanted: dict[str, Any], came: Any) -> bool:
    """Whether a result is what the suite expects. Raises `NotOffered` where the API does not tell."""
    kind, text = wanted["type"], wanted.get("value")
    match kind:
        case "either":
            return any(agrees(each, came) for each in wanted["values"])
        case "i32" | "i64":
            return isinstance(came, int) and came == signed(int(text), int(kind[1:]))
        case "f32" | "f64":
            width = int(kind[1:])
            return isinstance(came, float) and _float_agrees(text, bits_of(came, width), width)
        case "v128":
            return isinstance(came, bytes) and _vector_agrees(wanted, came)
        case _ if text == "null" or kind.startswith("null") or kind == "refnull":
            return came is None
        case _ if kind in KINDS:
            # Of a reference the API gives no more than its kind.
            return isinstance(came, Reference) and came.kind == KINDS[kind]
        case "ref":
            return isinstance(came, Reference)
        case _:
            raise NotOffered(f"a result of type {kind}")


def _float_agrees(text: str, bits: int, width: int) -> bool:
    quiet = {32: 0x7FC0_0000, 64: 0x7FF8 << 48}[width]
    if text == "nan:canonical":
        return bits & ~(1 << (width - 1)) == quiet
    if text == "nan:arithmetic":
        return bits & quiet == quiet
    return bits == int(text) % (1 << width)


def _vector_agrees(wanted: dict[str, Any], came: bytes) -> bool:
    lane_type = wanted["lane_type"]
    width = LANES[lane_type]
    size = width // 8
    for place, text in enumerate(wanted["value"]):
        bits = int.from_bytes(came[place * size : (place + 1) * size], "little")
        fits = _float_agrees(text, bits, width) if lane_type.startswith("f") else bits == int(text) % (1 << width)
        if not fits:
            return False
    return True
