"""The codec of each type, and all values of a call at once.

A codec knows one type. It works in one of two forms. *Packed* is what goes over the frames: records and variants by
position. *Natural* is what host functions in Python take and return: records as dicts, variants as `Case`, results as
`Ok` and `Err`, enums as names, flags as sets of names, resources as their numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasmq_worker import capi
from wasmq_worker.components.values.compound import (
    EnumOf,
    Flags,
    ListOf,
    OptionOf,
    Record,
    ResultOf,
    TupleOf,
    Variant,
)
from wasmq_worker.components.values.handles import Handle
from wasmq_worker.components.values.memory import SIZE, Codec, WrongValue, string_at, view_of
from wasmq_worker.components.values.plain import Bytes, Char, Plain, String

if TYPE_CHECKING:
    from collections.abc import Sequence


def codec(type_: Any, is_natural: bool) -> Codec:
    """Return the codec of a described type."""
    if isinstance(type_, str):
        if type_ == "char":
            return Char()
        return String() if type_ == "string" else Plain(type_)
    word, inside = type_[0], type_[1]
    match word:
        case "list":
            return Bytes() if inside == "u8" else ListOf(codec(inside, is_natural))
        case "tuple":
            return TupleOf([codec(each, is_natural) for each in inside])
        case "record":
            names = [name for name, _ in inside]
            return Record(names, [codec(each, is_natural) for _, each in inside], is_natural)
        case "variant":
            return Variant([(name, _maybe(each, is_natural)) for name, each in inside], is_natural)
        case "enum":
            return EnumOf(inside, is_natural)
        case "flags":
            return Flags(inside, is_natural)
        case "option":
            return OptionOf(codec(inside, is_natural), is_natural)
        case "result":
            return ResultOf(_maybe(inside, is_natural), _maybe(type_[2], is_natural), is_natural)
        case "own" | "borrow":
            return Handle(inside, word == "own")
    raise WrongValue(f"a {inside} cannot be passed")


def read_all(codecs: Sequence[Codec], address: int) -> list[Any]:
    """Return the values that lie one after the other at an address."""
    data = string_at(address, len(codecs) * SIZE)
    return [each.read(data, place * SIZE) for place, each in enumerate(codecs)]


def write_all(codecs: Sequence[Codec], values: Sequence[Any], address: int) -> None:
    """Lay values down one after the other, where zeros must lie. Raises whatever is wrong with one of them."""
    size = len(codecs) * SIZE
    view = view_of(address, size)
    for place, (each, value) in enumerate(zip(codecs, values, strict=True)):
        each.write(value, view, place * SIZE, address)


def free_all(count: int, address: int) -> None:
    """Free what values hold."""
    for place in range(count):
        capi.val_delete(address + place * SIZE)


def _maybe(type_: Any, is_natural: bool) -> Codec | None:
    return None if type_ is None else codec(type_, is_natural)
