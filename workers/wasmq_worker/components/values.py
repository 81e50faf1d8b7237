"""Values to and from the C API's `wasmtime_component_val_t`: a kind byte, seven of padding, a union of 24 bytes.

A codec knows one type. It works in one of two forms. *Packed* is what goes over the frames: records and variants by
position. *Natural* is what host functions in Python take and return: records as dicts, variants as `Case`, results as
`Ok` and `Err`, enums as names, flags as sets of names, resources as their numbers.

What is written belongs to the engine, which allocates all of it; a container is filled with zeros, which are values
too (false), before its parts are written: so it can be freed whatever goes wrong in between.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any, Final

from wasmq_worker import capi
from wasmq_worker.engine import check
from wasmq_worker.wasi.preview2 import Case, Err, Ok

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZE: Final = 32
_ENTRY: Final = 48
"""Bytes of a record's field: its name, then its value."""
_NAME: Final = 16

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
_CHAR, _STRING, _LIST, _RECORD, _TUPLE, _VARIANT, _ENUM, _OPTION, _RESULT, _FLAGS, _RESOURCE = range(11, 22)

_two: Final = struct.Struct("<QQ")
_one: Final = struct.Struct("<Q")
_char: Final = struct.Struct("<I")
_kind_and_char: Final = struct.Struct("<B7xI")
_string_at: Final = ctypes.string_at

_view_of = ctypes.pythonapi.PyMemoryView_FromMemory
_view_of.restype = ctypes.py_object
_view_of.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
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


class _Plain(Codec):
    __slots__ = ("_reader", "_writer", "kind", "letter")

    def __init__(self, word: str) -> None:
        self.kind, self.letter = _PLAIN[word]
        self._reader = struct.Struct(f"<8x{self.letter}")
        self._writer = struct.Struct(f"<B7x{self.letter}")

    def read(self, data: bytes, at: int) -> Any:
        return self._reader.unpack_from(data, at)[0]

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        self._writer.pack_into(view, at, self.kind, value)


class _Char(Codec):
    __slots__ = ()

    def read(self, data: bytes, at: int) -> Any:
        return chr(_char.unpack_from(data, at + 8)[0])

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        _kind_and_char.pack_into(view, at, _CHAR, ord(value))


class _String(Codec):
    __slots__ = ()

    def read(self, data: bytes, at: int) -> Any:
        return _text(data, at + 8).decode()

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        _put_bytes(value.encode(), address + at + 8)
        view[at] = _STRING


class _Bytes(Codec):
    """A list of u8: each byte is a value of its own to the engine, so they are spread out and gathered in one go."""

    __slots__ = ()

    def read(self, data: bytes, at: int) -> Any:
        size, pointer = _two.unpack_from(data, at + 8)
        return _string_at(pointer, size * SIZE)[8::SIZE] if size else b""

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        if not isinstance(value, (bytes, bytearray)):
            raise WrongValue(f"wants bytes, got {type(value).__name__}")
        count = len(value)
        spread = bytearray(count * SIZE)
        spread[0::SIZE] = b"\x02" * count
        spread[8::SIZE] = value
        _fill(capi.list_new, address + at + 8, count, SIZE, spread)
        view[at] = _LIST


class _List(Codec):
    __slots__ = ("_element",)

    def __init__(self, element: Codec) -> None:
        self._element = element

    def read(self, data: bytes, at: int) -> Any:
        size, pointer = _two.unpack_from(data, at + 8)
        if not size:
            return []
        inside = _string_at(pointer, size * SIZE)
        read = self._element.read
        return [read(inside, place) for place in range(0, size * SIZE, SIZE)]

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        inside, base = _fill(capi.list_new, address + at + 8, len(value), SIZE)
        view[at] = _LIST
        write = self._element.write
        for place, each in enumerate(value):
            write(each, inside, place * SIZE, base)


class _Tuple(Codec):
    __slots__ = ("_items",)

    def __init__(self, items: Sequence[Codec]) -> None:
        self._items = tuple(items)

    def read(self, data: bytes, at: int) -> Any:
        _, pointer = _two.unpack_from(data, at + 8)
        inside = _string_at(pointer, len(self._items) * SIZE)
        return tuple([item.read(inside, place * SIZE) for place, item in enumerate(self._items)])

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        inside, base = _fill(capi.tuple_new, address + at + 8, len(self._items), SIZE)
        view[at] = _TUPLE
        for place, (item, each) in enumerate(zip(self._items, value, strict=True)):
            item.write(each, inside, place * SIZE, base)


class _Record(Codec):
    __slots__ = ("_encoded", "_fields", "_names", "_natural")

    def __init__(self, names: Sequence[str], fields: Sequence[Codec], is_natural: bool) -> None:
        self._names = tuple(names)
        self._encoded = [name.encode() for name in names]
        self._fields = tuple(fields)
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        _, pointer = _two.unpack_from(data, at + 8)
        inside = _string_at(pointer, len(self._fields) * _ENTRY)
        values = [field.read(inside, place * _ENTRY + _NAME) for place, field in enumerate(self._fields)]
        return dict(zip(self._names, values, strict=True)) if self._natural else values

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        values = [value[name] for name in self._names] if self._natural else value
        inside, base = _fill(capi.record_new, address + at + 8, len(self._fields), _ENTRY)
        view[at] = _RECORD
        for place, (name, field, each) in enumerate(zip(self._encoded, self._fields, values, strict=True)):
            _put_bytes(name, base + place * _ENTRY)
            field.write(each, inside, place * _ENTRY + _NAME, base)


class _Variant(Codec):
    __slots__ = ("_cases", "_encoded", "_natural", "_places")

    def __init__(self, cases: Sequence[tuple[str, Codec | None]], is_natural: bool) -> None:
        self._cases = tuple(cases)
        self._encoded = [name.encode() for name, _ in cases]
        self._places = {name: place for place, name in enumerate(self._encoded)}
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        place = self._places[_text(data, at + 8)]
        name, codec = self._cases[place]
        payload = _read_boxed(codec, data, at + 24)
        return Case(name, payload) if self._natural else [place, payload]

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        if self._natural:
            name, payload = (value, None) if isinstance(value, str) else value
            place = self._places[name.encode()]
        else:
            place, payload = value
        _put_bytes(self._encoded[place], address + at + 8)
        view[at] = _VARIANT
        _one.pack_into(view, at + 24, _boxed(self._cases[place][1], payload))


class _Enum(Codec):
    __slots__ = ("_encoded", "_names", "_natural", "_places")

    def __init__(self, names: Sequence[str], is_natural: bool) -> None:
        self._names = tuple(names)
        self._encoded = [name.encode() for name in names]
        self._places = {name: place for place, name in enumerate(self._encoded)}
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        place = self._places[_text(data, at + 8)]
        return self._names[place] if self._natural else place

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        place = self._places[value.encode()] if self._natural else value
        _put_bytes(self._encoded[place], address + at + 8)
        view[at] = _ENUM


class _Option(Codec):
    """None, or the value; packed, the value is in a list of one."""

    __slots__ = ("_natural", "_some")

    def __init__(self, some: Codec, is_natural: bool) -> None:
        self._some = some
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        if not _one.unpack_from(data, at + 8)[0]:
            return None
        value = _read_boxed(self._some, data, at + 8)
        return value if self._natural else [value]

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        inside = value if self._natural or value is None else value[0]
        pointer = 0 if value is None else _boxed(self._some, inside)
        _one.pack_into(view, at + 8, pointer)
        view[at] = _OPTION


class _Result(Codec):
    __slots__ = ("_err", "_natural", "_ok")

    def __init__(self, ok: Codec | None, err: Codec | None, is_natural: bool) -> None:
        self._ok = ok
        self._err = err
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        good = bool(data[at + 8])
        payload = _read_boxed(self._ok if good else self._err, data, at + 16)
        if self._natural:
            return (Ok if good else Err)(payload)
        return [0 if good else 1, payload]

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        if not self._natural:
            good, payload = value[0] == 0, value[1]
        elif isinstance(value, (Ok, Err)):
            good, payload = isinstance(value, Ok), value.value
        else:
            raise WrongValue(f"wants a result, got {type(value).__name__}")
        _one.pack_into(view, at + 8, good)
        _one.pack_into(view, at + 16, _boxed(self._ok if good else self._err, payload))
        view[at] = _RESULT


class _Flags(Codec):
    __slots__ = ("_encoded", "_names", "_natural", "_places")

    def __init__(self, names: Sequence[str], is_natural: bool) -> None:
        self._names = tuple(names)
        self._encoded = [name.encode() for name in names]
        self._places = {name: place for place, name in enumerate(self._encoded)}
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        size, pointer = _two.unpack_from(data, at + 8)
        inside = _string_at(pointer, size * _NAME) if size else b""
        places = [self._places[_text(inside, at)] for at in range(0, size * _NAME, _NAME)]
        if self._natural:
            return frozenset([self._names[place] for place in places])
        masks = [0] * -(-len(self._names) // 32)
        for place in places:
            masks[place // 32] |= 1 << place % 32
        return masks

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        if self._natural:
            names = [self._encoded[self._places[name.encode()]] for name in value]
        else:
            names = [name for place, name in enumerate(self._encoded) if value[place // 32] >> place % 32 & 1]
        _, base = _fill(capi.flags_new, address + at + 8, len(names), _NAME)
        view[at] = _FLAGS
        for place, name in enumerate(names):
            _put_bytes(name, base + place * _NAME)


class Resources:
    """Numbers of resources' types, and the instance whose handles are being read and written."""

    def __init__(self) -> None:
        self.context = 0
        self._types: dict[str, int] = {}

    def type_of(self, name: str) -> int:
        """Return the number of a resource type by its name."""
        return self._types.setdefault(name, len(self._types) + 1)


resources: Final = Resources()


class _Handle(Codec):
    __slots__ = ("_owned", "_type")

    def __init__(self, name: str, owned: bool) -> None:
        self._type = resources.type_of(name)
        self._owned = owned

    def read(self, data: bytes, at: int) -> Any:
        out = ctypes.c_void_p()
        (any_,) = _one.unpack_from(data, at + 8)
        check(capi.resource_from_any(resources.context, any_, ctypes.addressof(out)))
        number: int = capi.resource_number(out.value)
        capi.resource_delete(out.value)
        return number

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        host = capi.resource_new(self._owned, value, self._type)
        out = ctypes.c_void_p()
        try:
            check(capi.resource_to_any(resources.context, host, ctypes.addressof(out)))
        finally:
            capi.resource_delete(host)
        _one.pack_into(view, at + 8, out.value or 0)
        view[at] = _RESOURCE


def codec(type_: Any, is_natural: bool) -> Codec:
    """Return the codec of a described type."""
    if isinstance(type_, str):
        if type_ == "char":
            return _Char()
        return _String() if type_ == "string" else _Plain(type_)
    word, inside = type_[0], type_[1]
    match word:
        case "list":
            return _Bytes() if inside == "u8" else _List(codec(inside, is_natural))
        case "tuple":
            return _Tuple([codec(each, is_natural) for each in inside])
        case "record":
            names = [name for name, _ in inside]
            return _Record(names, [codec(each, is_natural) for _, each in inside], is_natural)
        case "variant":
            return _Variant([(name, _maybe(each, is_natural)) for name, each in inside], is_natural)
        case "enum":
            return _Enum(inside, is_natural)
        case "flags":
            return _Flags(inside, is_natural)
        case "option":
            return _Option(codec(inside, is_natural), is_natural)
        case "result":
            return _Result(_maybe(inside, is_natural), _maybe(type_[2], is_natural), is_natural)
        case "own" | "borrow":
            return _Handle(inside, word == "own")
    raise WrongValue(f"a {inside} cannot be passed")


def read_all(codecs: Sequence[Codec], address: int) -> list[Any]:
    """Return the values that lie one after the other at an address."""
    data = _string_at(address, len(codecs) * SIZE)
    return [each.read(data, place * SIZE) for place, each in enumerate(codecs)]


def write_all(codecs: Sequence[Codec], values: Sequence[Any], address: int) -> None:
    """Lay values down one after the other, where zeros must lie. Raises whatever is wrong with one of them."""
    size = len(codecs) * SIZE
    view = _view(address, size)
    for place, (each, value) in enumerate(zip(codecs, values, strict=True)):
        each.write(value, view, place * SIZE, address)


def free_all(count: int, address: int) -> None:
    """Free what values hold."""
    for place in range(count):
        capi.val_delete(address + place * SIZE)


def _maybe(type_: Any, is_natural: bool) -> Codec | None:
    return None if type_ is None else codec(type_, is_natural)


def _view(address: int, size: int) -> memoryview:
    view: memoryview = _view_of(address, size, _WRITABLE)
    return view


def _text(data: bytes, at: int) -> bytes:
    size, pointer = _two.unpack_from(data, at)
    return _string_at(pointer, size) if size else b""


def _put_bytes(value: bytes, address: int) -> None:
    capi.bytes_new(address, len(value), value)


def _fill(
    new: Callable[[int, int], None], address: int, count: int, size: int, content: bytearray | None = None
) -> tuple[memoryview, int]:
    """Make a vector with room for `count` items of zeros, or with `content`; return the room and where it is."""
    new(address, count)
    if not count:
        return memoryview(b""), 0
    base = ctypes.c_uint64.from_address(address + 8).value
    view = _view(base, count * size)
    view[:] = bytes(count * size) if content is None else content
    return view, base


def _read_boxed(inside: Codec | None, data: bytes, at: int) -> Any:
    (pointer,) = _one.unpack_from(data, at)
    if inside is None:
        return None
    return inside.read(_string_at(pointer, SIZE), 0)


def _boxed(inside: Codec | None, value: Any) -> int:
    if inside is None:
        if value is not None:
            raise WrongValue("a value where there is none")
        return 0
    room = (ctypes.c_uint64 * 4)()
    address = ctypes.addressof(room)
    try:
        inside.write(value, _view(address, SIZE), 0, address)
    except BaseException:
        capi.val_delete(address)
        raise
    pointer: int = capi.val_new(address)
    return pointer
