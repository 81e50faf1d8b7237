"""Values as they lie in the engine's memory: a kind byte, seven of padding, a union of 24 bytes.

That is the C API's `wasmtime_component_val_t`. What is written belongs to the engine, which allocates all of it; a
container is filled with zeros, which are values too (false), before its parts are written: so it can be freed whatever
goes wrong in between.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any, Final

from wasmq_worker import capi

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE: Final = 32
"""Bytes of one value."""
ENTRY: Final = 48
"""Bytes of a record's field: its name, then its value."""
NAME: Final = 16
"""Bytes of a name: its length and its pointer."""

# By wasmtime's own numbers (wasmtime/component/val.h).
CHAR, STRING, LIST, RECORD, TUPLE, VARIANT, ENUM, OPTION, RESULT, FLAGS, RESOURCE = range(11, 22)

two_words: Final = struct.Struct("<QQ")
one_word: Final = struct.Struct("<Q")
string_at: Final = ctypes.string_at

_memory_at = ctypes.pythonapi.PyMemoryView_FromMemory
_memory_at.restype = ctypes.py_object
_memory_at.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
_WRITABLE: Final = 0x200


class WrongValue(Exception):
    """Raised when a value is not of its type; the message is one line."""


class Codec:
    """Reads and writes values of one type."""

    __slots__ = ()

    def read(self, data: bytes, at: int) -> Any:
        """Return the value that lies in `data` at `at`."""
        raise NotImplementedError

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """Lay a value down in `view` at `at`; `address` is where the view begins. Raises `WrongValue` and the like."""
        raise NotImplementedError


def view_of(address: int, size: int) -> memoryview:
    """Return memory of the engine's, to be written to."""
    view: memoryview = _memory_at(address, size, _WRITABLE)
    return view


def text_at(data: bytes, at: int) -> bytes:
    """Return the bytes of a text whose length and pointer lie in `data` at `at`."""
    size, pointer = two_words.unpack_from(data, at)
    return string_at(pointer, size) if size else b""


def put_bytes(value: bytes, address: int) -> None:
    """Give the engine a copy of a text's bytes, its length and pointer at an address."""
    capi.bytes_new(address, len(value), value)


def fill(
    new: Callable[[int, int], None], address: int, count: int, size: int, content: bytearray | None = None
) -> tuple[memoryview, int]:
    """Make a vector with room for `count` items of zeros, or with `content`; return the room and where it is."""
    new(address, count)
    if not count:
        return memoryview(b""), 0
    base = ctypes.c_uint64.from_address(address + 8).value
    view = view_of(base, count * size)
    view[:] = bytes(count * size) if content is None else content
    return view, base


def read_boxed(inside: Codec | None, data: bytes, at: int) -> Any:
    """Return the value that the pointer in `data` at `at` leads to; None where the type has none."""
    (pointer,) = one_word.unpack_from(data, at)
    if inside is None:
        return None
    return inside.read(string_at(pointer, SIZE), 0)


def write_boxed(inside: Codec | None, value: Any) -> int:
    """Give the engine a value of its own, and return where it is; 0 where the type has none. Raises `WrongValue`."""
    if inside is None:
        if value is not None:
            raise WrongValue("a value where there is none")
        return 0
    room = (ctypes.c_uint64 * 4)()
    address = ctypes.addressof(room)
    try:
        inside.write(value, view_of(address, SIZE), 0, address)
    except BaseException:
        capi.val_delete(address)
        raise
    pointer: int = capi.val_new(address)
    return pointer
