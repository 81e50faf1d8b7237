"""Values of WIT types: natural Python on one side, a compact form for the frames on the other; JSON is `wit_json`'s.

| WIT | Python | frames | JSON |
|---|---|---|---|
| bool, integers, f32, f64, string | bool, int, float, str | the same | the same; NaN and infinities as strings |
| char | str of one character | the same | the same |
| list<T>, tuple<T…> | list, tuple | array | array |
| list<u8> | bytes | bytes | base64 |
| record | dict by field name | array in order | object |
| enum | str | its number | string |
| flags | frozenset of str | array of 32-bit masks | array of strings |
| option<T> | None, or the value | nil, or [value] | null, or the value |
| result<T, E> | `Ok`, `Err` | [0, value], [1, value] | {"ok": value}, {"err": value} |
| variant | `Case` | [number, value] | "name", or {"name": value} |

Where None could mean two things, for an option whose inside may be None itself (an option of an option), the inner
value is wrapped: `None`, `Some(None)`, `Some(x)`; in JSON `null`, `{"some": null}`, `{"some": x}`.

What comes from a worker is hostile, and so is what a caller passes on from its own callers: both are checked by type.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from wasmq import wit
from wasmq.errors import InvalidArguments
from wasmq.types import printable

if TYPE_CHECKING:
    from wasmq.wit import ValueType

__all__ = ["Case", "Err", "Ok", "Some", "Wire", "natural", "pack_arguments", "pack_result", "read_result"]

MAX_PACKED: Final = 4 * 2**20
"""Bytes that the arguments of a call may have in the frames: each element of a list takes the worker 32 times that."""

Wire: TypeAlias = Any
"""A value in the form that goes over the frames."""


class Ok(msgspec.Struct, frozen=True):
    """A result that went well."""

    value: Any = None


class Err(msgspec.Struct, frozen=True):
    """A result that did not go well."""

    value: Any = None


class Some(msgspec.Struct, frozen=True):
    """A value of an option whose inside may be None itself."""

    value: Any = None


class Case(msgspec.Struct, frozen=True):
    """One case of a variant, by name; `value` is None when the case carries none."""

    name: str
    value: Any = None


class _Misfit(Exception):
    """Raised with what is wrong about a value; `path` says where, from the inside out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.path: list[str] = []

    def at(self) -> str:
        return "".join(reversed(self.path))


RANGES: Final = {
    **{f"s{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"u{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
_single: Final = struct.Struct("<f")


def pack_arguments(export: str, function: wit.Func, args: Sequence[Any]) -> bytes:
    """Return arguments in the form that goes to a worker. Raises `InvalidArguments`, naming place and type."""
    params = function.params
    if len(args) != len(params):
        raise InvalidArguments(
            f"export {printable(export)!r}: {_short(function)} takes {len(params)} argument{'s' * (len(params) != 1)}, "
            f"got {len(args)}"
        )
    wires = []
    for position, (param, arg) in enumerate(zip(params, args, strict=True), 1):
        try:
            wires.append(_lower(param.type, arg))
        except _Misfit as misfit:
            where = f"argument {position} ({param.name}) of {printable(export)!r}"
            raise InvalidArguments(f"{where} {misfit.at()}: {misfit}".replace(" :", ":")) from None
        except RecursionError:
            raise InvalidArguments(f"argument {position} of {printable(export)!r}: nested too deep") from None
    packed = msgspec.msgpack.encode(wires)
    if len(packed) > MAX_PACKED:
        raise InvalidArguments(
            f"arguments of {printable(export)!r}: {len(packed)} bytes together, the most is {MAX_PACKED}; "
            "bring more in files"
        )
    return packed


def pack_result(type_: ValueType | None, value: Any) -> bytes:
    """Return a natural value as a worker would have sent it. Raises `ValueError` when it is not of the type."""
    try:
        return msgspec.msgpack.encode(None if type_ is None else _lower(type_, value))
    except (_Misfit, RecursionError) as error:
        raise ValueError(f"no value of type {_short(type_)}: {error}") from None


def read_result(type_: ValueType | None, packed: bytes) -> Any:
    """Return the natural value of a result that came from a worker. Raises `ValueError` when it is no such value."""
    try:
        wire = msgspec.msgpack.decode(packed)
        if type_ is None:
            if wire is not None:
                raise ValueError("a value came from a function that returns none")
            return None
        return natural(type_, wire)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _Misfit) as error:
        raise ValueError(f"no value of type {_short(type_)}: {error}") from None


def is_ambiguous(option: wit.Option) -> bool:
    """Return whether None could mean two things."""
    return isinstance(option.some, wit.Option)


def is_bytes(type_: wit.List) -> bool:
    """Return whether a list is one of bytes."""
    return type_.element == "u8"


# From Python to the frames.


def _lower(type_: ValueType, value: Any) -> Wire:
    match type_:
        case "string":
            return _text(value, type_)
        case str():
            return _LOWER[type_](value, type_)
        case wit.List():
            return _lower_list(type_, value)
        case wit.Record():
            return _lower_record(type_, value)
        case wit.Option():
            if is_ambiguous(type_):
                if value is None:
                    return None
                if not isinstance(value, Some):
                    raise _wrong(type_, value, "None or wasmq.Some(…)")
                return [_lower(type_.some, value.value)]
            if isinstance(value, Some):
                value = value.value
                if value is None:
                    raise _wrong(type_.some, value)
            return None if value is None else [_lower(type_.some, value)]
        case wit.Result():
            if not isinstance(value, (Ok, Err)):
                raise _wrong(type_, value, "wasmq.Ok(…) or wasmq.Err(…)")
            good = isinstance(value, Ok)
            inside = type_.ok if good else type_.err
            return [0 if good else 1, _payload(inside, value.value, "ok" if good else "err")]
        case wit.Tuple():
            if not isinstance(value, (tuple, list)):
                raise _wrong(type_, value, f"a tuple of {len(type_.items)}")
            if len(value) != len(type_.items):
                raise _Misfit(f"{_short(type_)} wants {len(type_.items)} items, got {len(value)}")
            return [_at(f"[{n}]", item, each) for n, (item, each) in enumerate(zip(type_.items, value, strict=True))]
        case wit.Variant():
            return _lower_variant(type_, value)
        case wit.Enum():
            if not isinstance(value, str):
                raise _wrong(type_, value, _choice(type_.names))
            return _index(type_.names, value, type_)
        case wit.Flags():
            return _lower_flags(type_, value)
    raise _Misfit(f"a {type_} cannot be passed")


def _at(step: str, type_: ValueType, value: Any) -> Wire:
    try:
        return _lower(type_, value)
    except _Misfit as misfit:
        misfit.path.append(step)
        raise


def _payload(type_: ValueType | None, value: Any, name: str) -> Wire:
    if type_ is not None:
        return _at(f".{name}", type_, value)
    if value is not None:
        raise _Misfit(f"{name} carries no value, got {_shown(value)}")
    return None


def _bool(value: Any, type_: wit.Primitive) -> bool:
    if not isinstance(value, bool):
        raise _wrong(type_, value)
    return value


def _integer(value: Any, type_: wit.Primitive) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(type_, value)
    low, high = RANGES[type_]
    if not low <= value <= high:
        raise _Misfit(f"{type_} is from {low} to {high}, got {_shown(value)}")
    return int(value)


def _float(value: Any, type_: wit.Primitive) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(type_, value)
    try:
        number = float(value)
        if type_ == "f32":
            (number,) = _single.unpack(_single.pack(number))
    except OverflowError:
        raise _Misfit(f"{_shown(value)} is outside the range of {type_}") from None
    return number


def _text(value: Any, type_: wit.Primitive) -> str:
    if not isinstance(value, str):
        raise _wrong(type_, value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Misfit(f"{type_} cannot hold the lone surrogates in {_shown(value)}") from None
    return str(value)


def _char(value: Any, type_: wit.Primitive) -> str:
    if not isinstance(value, str) or len(value) != 1:
        raise _wrong(type_, value, "one character")
    return _text(value, type_)


_LOWER: Final = {
    "bool": _bool,
    **dict.fromkeys(RANGES, _integer),
    "f32": _float,
    "f64": _float,
    "char": _char,
}


def _lower_list(type_: wit.List, value: Any) -> Wire:
    if is_bytes(type_) and isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (str, bytes, bytearray, Mapping)) or not isinstance(value, Sequence):
        raise _wrong(type_, value, "bytes or a list" if is_bytes(type_) else "a list")
    element = type_.element
    try:
        wires = [_lower(element, each) for each in value]
    except _Misfit:
        wires = [_at(f"[{place}]", element, each) for place, each in enumerate(value)]
    return bytes(wires) if is_bytes(type_) else wires


def _lower_record(type_: wit.Record, value: Any) -> Wire:
    if not isinstance(value, Mapping):
        raise _wrong(type_, value, "a dict")
    given = {(key.replace("_", "-") if isinstance(key, str) else key): each for key, each in value.items()}
    names = [field.name for field in type_.fields]
    if missing := [name for name in names if name not in given]:
        raise _Misfit(f"{_short(type_)} wants the field {missing[0]!r}, which is missing")
    if len(given) != len(names) or len(value) != len(names):
        surplus = [key for key in given if key not in set(names)]
        problem = f"has no field {_shown(surplus[0])}" if surplus else "is given a field twice"
        raise _Misfit(f"{_short(type_)} {problem}; its fields: {', '.join(names[:12])}")
    return [_at(f".{field.name}", field.type, given[field.name]) for field in type_.fields]


def _lower_variant(type_: wit.Variant, value: Any) -> Wire:
    if isinstance(value, str):
        value = Case(value)
    if not isinstance(value, Case):
        raise _wrong(type_, value, "wasmq.Case(name, value)")
    names = tuple([case.name for case in type_.cases])
    index = _index(names, value.name, type_)
    return [index, _payload(type_.cases[index].type, value.value, names[index])]


def _lower_flags(type_: wit.Flags, value: Any) -> Wire:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong(type_, value, "a set of names")
    masks = [0] * -(-len(type_.names) // 32)
    for name in value:
        if not isinstance(name, str):
            raise _wrong(type_, name, "names")
        place = _index(type_.names, name, type_)
        masks[place // 32] |= 1 << place % 32
    return masks


def _index(names: Sequence[str], name: Any, type_: ValueType) -> int:
    wanted = name.replace("_", "-") if isinstance(name, str) else name
    if wanted in names:
        return names.index(wanted)
    raise _Misfit(f"{_short(type_)} has no {_shown(name)}; it has {_choice(names)}")


# From the frames to Python.


def natural(type_: ValueType, wire: Wire) -> Any:
    """Return a value from the frames as natural Python. Raises a private error that `read_result` turns into one."""
    match type_:
        case str():
            return _NATURAL[type_](wire, type_)
        case wit.List():
            if is_bytes(type_):
                if not isinstance(wire, bytes):
                    raise _wrong(type_, wire)
                return wire
            return [natural(type_.element, each) for each in _array(wire, type_)]
        case wit.Record():
            values = _array(wire, type_, len(type_.fields))
            return {field.name: natural(field.type, each) for field, each in zip(type_.fields, values, strict=True)}
        case wit.Tuple():
            values = _array(wire, type_, len(type_.items))
            return tuple([natural(item, each) for item, each in zip(type_.items, values, strict=True)])
        case wit.Option():
            if wire is None:
                return None
            inside = natural(type_.some, _array(wire, type_, 1)[0])
            return Some(inside) if is_ambiguous(type_) else inside
        case wit.Result():
            which, payload = _array(wire, type_, 2)
            inner = (type_.ok, type_.err)[_place(which, 2, type_)]
            return (Ok, Err)[which](_natural_payload(inner, payload))
        case wit.Variant():
            which, payload = _array(wire, type_, 2)
            case = type_.cases[_place(which, len(type_.cases), type_)]
            return Case(case.name, _natural_payload(case.type, payload))
        case wit.Enum():
            return type_.names[_place(wire, len(type_.names), type_)]
        case wit.Flags():
            return _natural_flags(type_, wire)
    raise _Misfit(f"a {type_} cannot be passed")


def _natural_payload(type_: ValueType | None, wire: Wire) -> Any:
    if type_ is None:
        if wire is not None:
            raise _Misfit("a value where there is none")
        return None
    return natural(type_, wire)


def _natural_float(wire: Wire, type_: wit.Primitive) -> float:
    if type(wire) is not float:
        raise _wrong(type_, wire)
    return wire


_NATURAL: Final = {**_LOWER, "f32": _natural_float, "f64": _natural_float, "string": _text}


def _natural_flags(type_: wit.Flags, wire: Wire) -> frozenset[str]:
    names = type_.names
    masks = _array(wire, type_, -(-len(names) // 32))
    bits = 0
    for place, mask in enumerate(masks):
        bits |= _integer(mask, "u32") << 32 * place
    if bits >> len(names):
        raise _Misfit(f"{_short(type_)}: a flag that it has not")
    return frozenset([name for place, name in enumerate(names) if bits >> place & 1])


def _array(wire: Wire, type_: ValueType, length: int | None = None) -> list[Any]:
    if not isinstance(wire, list) or (length is not None and len(wire) != length):
        raise _wrong(type_, wire)
    return wire


def _place(wire: Wire, count: int, type_: ValueType) -> int:
    if type(wire) is not int or not 0 <= wire < count:
        raise _wrong(type_, wire)
    return wire


# Words.

_WANTS: Final = {
    "bool": "True or False",
    **dict.fromkeys(RANGES, "an int"),
    "f32": "a float or an int",
    "f64": "a float or an int",
    "char": "one character",
    "string": "a str",
}


def _wrong(type_: ValueType, value: Any, wants: str | None = None) -> _Misfit:
    if isinstance(type_, str):
        return _Misfit(f"wants {type_}, {wants or _WANTS[type_]}, got {_shown(value)}")
    return _Misfit(f"wants {_short(type_)}{'' if wants is None else f', {wants}'}, got {_shown(value)}")


def _choice(names: Sequence[str]) -> str:
    more = f", … {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


def _short(type_: object) -> str:
    return printable(str(type_), 80)


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 2**128:
        return f"an int of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)):
        text = repr(value[:60])
        return f"{text if len(value) <= 60 else text + '…'} ({type(value).__name__})"
    if value is None or isinstance(value, (bool, int, float)):
        return f"{value!r} ({type(value).__name__})" if value is not None else "None"
    return f"a value of type {type(value).__name__}"
