"""How a JSON value becomes a core value and back. Pure.

Integers are JSON numbers, exact to 64 bits, and are accepted as decimal strings too, because many JSON readers keep
only 53 bits. NaN and the infinities are the strings "NaN", "Infinity" and "-Infinity"; a v128 is 32 hex digits, its
16 bytes in memory order. Values of components have forms of their own: see `wasmq.wit_values`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec

from wasmq.errors import InvalidArguments
from wasmq.job import Reference, Value
from wasmq.types import NUMBERS, PASSABLE, FunctionType, printable
from wasmq.wit_json import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmq import wit
    from wasmq.job import Outcome

__all__ = ["VALUE_FORM", "JsonValue", "arguments", "json_value", "outcome_values", "read_arguments"]

JsonValue: TypeAlias = Annotated[
    Any,
    msgspec.Meta(
        extra_json_schema={
            "anyOf": [
                {"type": "integer"},
                {"type": "number"},
                {"type": "string"},
                {"type": "boolean"},
                {"type": "null"},
                {"type": "array"},
                {"type": "object"},
            ]
        }
    ),
]
VALUE_FORM: Final = (
    'i32 and i64 are integers (or decimal strings); f32 and f64 numbers, decimal strings, "NaN", "Infinity" or '
    '"-Infinity"; v128 is 32 hex digits, its bytes in memory order. For a component: a record is an object, a list or '
    "tuple an array, list<u8> base64, flags an array of strings, an enum a string, an option null or the value, "
    'a result {"ok": …} or {"err": …}, a variant "case" or {"case": …}.'
)
"""What /schema says of a value."""


def read_arguments(function: FunctionType | wit.Func, came: Sequence[Any], where: str = "") -> tuple[Any, ...]:
    """Return decoded JSON values as arguments of a function. Raises `InvalidArguments`, its line led by `where`.

    What does not fit a component's function is left as it came: admission says what is wrong with it.
    """
    if isinstance(function, FunctionType):
        return arguments(function.params, came, where)
    if len(came) != len(function.params):
        return tuple(came)
    return tuple([from_json(param.type, each) for param, each in zip(function.params, came, strict=True)])


def arguments(params: Sequence[str], came: Sequence[Any], where: str = "") -> tuple[Value, ...]:
    """Return decoded JSON values as core values for parameters of these types.

    Raises `InvalidArguments`, its line led by `where`, when there are too many or too few, or when one can never be of
    its type. Whether a number is in its type's range is for admission to say.
    """
    if len(came) != len(params):
        wanted = f"{len(params)} ({', '.join(params)})" if params else "none"
        raise InvalidArguments(f"{where}the export takes {wanted} arguments, got {len(came)}")
    values: list[Value] = []
    for position, (param, value) in enumerate(zip(params, came, strict=True), 1):
        reader = _READERS.get(param)
        if reader is None:
            raise InvalidArguments(f"{where}argument {position} is {param}: it cannot be given as JSON")
        read, wanted = reader
        try:
            values.append(read(value))
        except (ValueError, OverflowError):
            raise InvalidArguments(
                f"{where}argument {position} is {param}: wants {wanted}, got {_shown(value)}"
            ) from None
    return tuple(values)


def json_value(value: Value) -> int | float | str | None:
    """Return a core value as what JSON can carry."""
    if isinstance(value, Reference):
        return value.kind
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def outcome_values(outcome: Outcome) -> tuple[Any, ...]:
    """Return a job's results as what JSON can carry."""
    returned = outcome.returned
    if returned is None:
        return tuple([json_value(value) for value in outcome.values])
    return () if returned.type is None else (to_json(returned.type, returned.natural()),)


_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_HEX = re.compile(r"[0-9a-fA-F]{32}")
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# The exact decimal expansion of an f64 has at most 767 significant digits; longer text only costs time to read.
_LONGEST_DECIMAL: Final = 1100


def _integer(came: Any) -> int:
    if type(came) is int:  # not isinstance: JSON's true and false are no integers
        return came
    if isinstance(came, str) and _INTEGER.fullmatch(came):
        return int(came)
    raise ValueError


def _float(came: Any) -> float:
    if type(came) is float:
        return came
    if type(came) is int:
        return float(came)
    if not isinstance(came, str):
        raise ValueError
    if came in _NOT_FINITE:
        return _NOT_FINITE[came]
    if len(came) > _LONGEST_DECIMAL or not _DECIMAL.fullmatch(came) or math.isinf(value := float(came)):
        raise ValueError
    return value


def _v128(came: Any) -> bytes:
    if isinstance(came, str) and _HEX.fullmatch(came):
        return bytes.fromhex(came)
    raise ValueError


def _null(came: Any) -> None:
    if came is not None:
        raise ValueError


_INTEGERS: Final = "an integer, as a JSON number or a decimal string"
_FLOATS: Final = 'a finite number, as such or as a decimal string, or "NaN", "Infinity", "-Infinity"'
_READERS: Final[dict[str, tuple[Callable[[Any], Value], str]]] = {
    "i32": (_integer, _INTEGERS),
    "i64": (_integer, _INTEGERS),
    "f32": (_float, _FLOATS),
    "f64": (_float, _FLOATS),
    "v128": (_v128, "32 hex digits"),
    **dict.fromkeys(PASSABLE - NUMBERS, (_null, "null")),
}


def _shown(came: Any) -> str:
    match came:
        case None:
            return "null"
        case bool():
            return "true" if came else "false"
        case list():
            return "an array"
        case dict():
            return "an object"
        case str():
            return f'"{printable(came, 40)}"'
        case _:
            text = repr(came)
            return text if len(text) <= 40 else f"{text[:40]}…"
