"""Values without parts: numbers, characters, text, and bytes, which are lists to the engine."""

from __future__ import annotations

import struct
from typing import Any, Final

from wasmq_worker import capi
from wasmq_worker.components.values.memory import (
    CHAR,
    LIST,
    SIZE,
    STRING,
    Codec,
    WrongValue,
    fill,
    put_bytes,
    string_at,
    text_at,
    two_words,
)

# By wasmtime's own numbers (wasmtime/component/val.h).
_PLAIN: Final = {
    "bool": (0, "?"),
    "s8": (1, "b"),
    "u8": (2, "B"),
    "s16": (3, "h"),
    "u16": (4, "H"),
    "s32": (5, "i"),
    "u32": (6, "I"),
    "s64": (7, "q"),
    "u64": (8, "Q"),
    "f32": (9, "f"),
    "f64": (10, "d"),
}

_char: Final = struct.Struct("<I")
_kind_and_char: Final = struct.Struct("<B7xI")


class Plain(Codec):
    """A number, or bool, of one kind."""

    __slots__ = ("_reader", "_writer", "kind", "letter")

    def __init__(self, word: str) -> None:
        self.kind, self.letter = _PLAIN[word]
        self._reader = struct.Struct(f"<8x{self.letter}")
        self._writer = struct.Struct(f"<B7x{self.letter}")

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        return self._reader.unpack_from(data, at)[0]

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        self._writer.pack_into(view, at, self.kind, value)


class Char(Codec):
    """A character."""

    __slots__ = ()

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        return chr(_char.unpack_from(data, at + 8)[0])

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        _kind_and_char.pack_into(view, at, CHAR, ord(value))


class String(Codec):
    """Text."""

    __slots__ = ()

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        return text_at(data, at + 8).decode()

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        put_bytes(value.encode(), address + at + 8)
        view[at] = STRING


class Bytes(Codec):
    """A list of u8: each byte is a value of its own to the engine, so they are spread out and gathered in one go."""

    __slots__ = ()

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        size, pointer = two_words.unpack_from(data, at + 8)
        return string_at(pointer, size * SIZE)[8::SIZE] if size else b""

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        if not isinstance(value, (bytes, bytearray)):
            raise WrongValue(f"wants bytes, got {type(value).__name__}")
        count = len(value)
        spread = bytearray(count * SIZE)
        spread[0::SIZE] = b"\x02" * count
        spread[8::SIZE] = value
        fill(capi.list_new, address + at + 8, count, SIZE, spread)
        view[at] = LIST
