"""Values with parts, in both forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasmq_worker import capi
from wasmq_worker.components.values.memory import (
    ENTRY,
    ENUM,
    FLAGS,
    LIST,
    NAME,
    OPTION,
    RECORD,
    RESULT,
    SIZE,
    TUPLE,
    VARIANT,
    Codec,
    WrongValue,
    fill,
    one_word,
    put_bytes,
    read_boxed,
    string_at,
    text_at,
    two_words,
    write_boxed,
)
from wasmq_worker.wasi.preview2 import Case, Err, Ok

if TYPE_CHECKING:
    from collections.abc import Sequence


class ListOf(Codec):
    """A list, of anything but u8."""

    __slots__ = ("_element",)

    def __init__(self, element: Codec) -> None:
        self._element = element

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        size, pointer = two_words.unpack_from(data, at + 8)
        if not size:
            return []
        inside = string_at(pointer, size * SIZE)
        read = self._element.read
        return [read(inside, place) for place in range(0, size * SIZE, SIZE)]

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        inside, base = fill(capi.list_new, address + at + 8, len(value), SIZE)
        view[at] = LIST
        write = self._element.write
        for place, each in enumerate(value):
            write(each, inside, place * SIZE, base)


class TupleOf(Codec):
    """A tuple."""

    __slots__ = ("_items",)

    def __init__(self, items: Sequence[Codec]) -> None:
        self._items = tuple(items)

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        _, pointer = two_words.unpack_from(data, at + 8)
        inside = string_at(pointer, len(self._items) * SIZE)
        return tuple([item.read(inside, place * SIZE) for place, item in enumerate(self._items)])

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        inside, base = fill(capi.tuple_new, address + at + 8, len(self._items), SIZE)
        view[at] = TUPLE
        for place, (item, each) in enumerate(zip(self._items, value, strict=True)):
            item.write(each, inside, place * SIZE, base)


class Record(Codec):
    """A record: packed, its fields in order."""

    __slots__ = ("_encoded", "_fields", "_names", "_natural")

    def __init__(self, names: Sequence[str], fields: Sequence[Codec], is_natural: bool) -> None:
        self._names = tuple(names)
        self._encoded = [name.encode() for name in names]
        self._fields = tuple(fields)
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        _, pointer = two_words.unpack_from(data, at + 8)
        inside = string_at(pointer, len(self._fields) * ENTRY)
        values = [field.read(inside, place * ENTRY + NAME) for place, field in enumerate(self._fields)]
        return dict(zip(self._names, values, strict=True)) if self._natural else values

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        values = [value[name] for name in self._names] if self._natural else value
        inside, base = fill(capi.record_new, address + at + 8, len(self._fields), ENTRY)
        view[at] = RECORD
        for place, (name, field, each) in enumerate(zip(self._encoded, self._fields, values, strict=True)):
            put_bytes(name, base + place * ENTRY)
            field.write(each, inside, place * ENTRY + NAME, base)


class Variant(Codec):
    """A variant: packed, the place of its case and the payload."""

    __slots__ = ("_cases", "_encoded", "_natural", "_places")

    def __init__(self, cases: Sequence[tuple[str, Codec | None]], is_natural: bool) -> None:
        self._cases = tuple(cases)
        self._encoded = [name.encode() for name, _ in cases]
        self._places = {name: place for place, name in enumerate(self._encoded)}
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        place = self._places[text_at(data, at + 8)]
        name, codec = self._cases[place]
        payload = read_boxed(codec, data, at + 24)
        return Case(name, payload) if self._natural else [place, payload]

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        if self._natural:
            name, payload = (value, None) if isinstance(value, str) else value
            place = self._places[name.encode()]
        else:
            place, payload = value
        put_bytes(self._encoded[place], address + at + 8)
        view[at] = VARIANT
        one_word.pack_into(view, at + 24, write_boxed(self._cases[place][1], payload))


class EnumOf(Codec):
    """An enum: packed, the place of its case."""

    __slots__ = ("_encoded", "_names", "_natural", "_places")

    def __init__(self, names: Sequence[str], is_natural: bool) -> None:
        self._names = tuple(names)
        self._encoded = [name.encode() for name in names]
        self._places = {name: place for place, name in enumerate(self._encoded)}
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        place = self._places[text_at(data, at + 8)]
        return self._names[place] if self._natural else place

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        place = self._places[value.encode()] if self._natural else value
        put_bytes(self._encoded[place], address + at + 8)
        view[at] = ENUM


class OptionOf(Codec):
    """None, or the value; packed, the value is in a list of one."""

    __slots__ = ("_natural", "_some")

    def __init__(self, some: Codec, is_natural: bool) -> None:
        self._some = some
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        if not one_word.unpack_from(data, at + 8)[0]:
            return None
        value = read_boxed(self._some, data, at + 8)
        return value if self._natural else [value]

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        inside = value if self._natural or value is None else value[0]
        pointer = 0 if value is None else write_boxed(self._some, inside)
        one_word.pack_into(view, at + 8, pointer)
        view[at] = OPTION


class ResultOf(Codec):
    """A result: packed, 0 or 1 and the payload."""

    __slots__ = ("_err", "_natural", "_ok")

    def __init__(self, ok: Codec | None, err: Codec | None, is_natural: bool) -> None:
        self._ok = ok
        self._err = err
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        good = bool(data[at + 8])
        payload = read_boxed(self._ok if good else self._err, data, at + 16)
        if self._natural:
            return (Ok if good else Err)(payload)
        return [0 if good else 1, payload]

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        if not self._natural:
            good, payload = value[0] == 0, value[1]
        elif isinstance(value, (Ok, Err)):
            good, payload = isinstance(value, Ok), value.value
        else:
            raise WrongValue(f"wants a result, got {type(value).__name__}")
        one_word.pack_into(view, at + 8, good)
        one_word.pack_into(view, at + 16, write_boxed(self._ok if good else self._err, payload))
        view[at] = RESULT


class Flags(Codec):
    """Flags: packed, a bit for each in words of 32."""

    __slots__ = ("_encoded", "_names", "_natural", "_places")

    def __init__(self, names: Sequence[str], is_natural: bool) -> None:
        self._names = tuple(names)
        self._encoded = [name.encode() for name in names]
        self._places = {name: place for place, name in enumerate(self._encoded)}
        self._natural = is_natural

    def read(self, data: bytes, at: int) -> Any:
        """See `Codec.read`."""
        size, pointer = two_words.unpack_from(data, at + 8)
        inside = string_at(pointer, size * NAME) if size else b""
        places = [self._places[text_at(inside, at)] for at in range(0, size * NAME, NAME)]
        if self._natural:
            return frozenset([self._names[place] for place in places])
        masks = [0] * -(-len(self._names) // 32)
        for place in places:
            masks[place // 32] |= 1 << place % 32
        return masks

    def write(self, value: Any, view: memoryview, at: int, address: int) -> None:
        """See `Codec.write`."""
        if self._natural:
            names = [self._encoded[self._places[name.encode()]] for name in value]
        else:
            names = [name for place, name in enumerate(self._encoded) if value[place // 32] >> place % 32 & 1]
        _, base = fill(capi.flags_new, address + at + 8, len(names), NAME)
        view[at] = FLAGS
        for place, name in enumerate(names):
            put_bytes(name, base + place * NAME)
