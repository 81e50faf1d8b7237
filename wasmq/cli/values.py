"""Values as people type and read them: an argument's text to a core value by the export's type, and back to text."""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Any

import msgspec

from wasmq import wit
from wasmq.errors import InvalidArguments
from wasmq.job import Reference
from wasmq.types import NUMBERS, PASSABLE, FunctionType
from wasmq.wit_json import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmq.job import Outcome, Value

__all__ = [
    "format_results",
    "format_value",
    "json_results",
    "json_value",
    "parse_arguments",
    "parse_value",
    "parse_words",
]

_INTEGER = re.compile(
    r"(?P<sign>[+-]?)(?:0[xX](?P<hex>[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*)|(?P<decimal>[0-9]+(?:_[0-9]+)*))"
)
_FLOAT = re.compile(
    r"[+-]?(?:inf(?:inity)?|nan|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:e[+-]?[0-9]+)?)",
    re.ASCII | re.IGNORECASE,
)
_HEX_FLOAT = re.compile(r"[+-]?0x(?:[0-9a-f]+(?:\.[0-9a-f]*)?|\.[0-9a-f]+)(?:p[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
_V128 = re.compile(r"[0-9a-fA-F]{32}")
_LONGEST = 1_000  # characters; Python refuses to read integers of several thousand digits
_SHOWN = 40  # characters of a wrong argument that its error repeats

_EXPECTED = {
    "i32": "an integer from -2147483648 to 4294967295",
    "i64": "an integer from -9223372036854775808 to 18446744073709551615",
    "f32": "a number that a 32-bit float can hold, nan, inf or -inf",
    "f64": "a number that a 64-bit float can hold, nan, inf or -inf",
    "v128": "32 hex digits",
    **dict.fromkeys(PASSABLE - NUMBERS, "null"),
}


def parse_words(words: Sequence[str], function: FunctionType | wit.Func, export: str) -> tuple[Any, ...]:
    """Return one argument for each word. Raises `InvalidArguments` as `parse_arguments` does.

    An argument of a component is JSON; where a string, a char, an enum or a variant is wanted, a word that is no JSON
    string stands for itself.
    """
    if isinstance(function, FunctionType):
        return parse_arguments(words, function.params, export)
    if len(words) != len(function.params):
        wanted = ", ".join([str(param) for param in function.params]) or "no arguments"
        raise InvalidArguments(f"{export} takes {len(function.params)} ({wanted}), not {len(words)}")
    return tuple([_component_value(word, param.type) for word, param in zip(words, function.params, strict=True)])


def _component_value(word: str, type_: wit.ValueType) -> Any:
    worded = type_ in ("string", "char") or isinstance(type_, (wit.Enum, wit.Variant))
    if worded and not word.startswith(('"', "{")):
        return word
    try:
        came = msgspec.json.decode(word)
    except (msgspec.DecodeError, RecursionError):
        return word
    return word if type_ in ("string", "char") and not isinstance(came, str) else from_json(type_, came)


def parse_arguments(texts: Sequence[str], types: Sequence[str], export: str) -> tuple[Value, ...]:
    """Return one core value for each text. `types` are the export's parameters.

    Raises `InvalidArguments` when their number differs, or naming the position, the type wanted and what came.
    """
    if len(texts) != len(types):
        wanted = f"{len(types)} argument{'' if len(types) == 1 else 's'}"
        listed = f" ({' '.join(types)})" if types else ""
        raise InvalidArguments(f"{export} takes {wanted}{listed}, not {len(texts)}")
    values = []
    for position, (text, wanted) in enumerate(zip(texts, types, strict=True), start=1):
        try:
            values.append(parse_value(text, wanted))
        except InvalidArguments as error:
            raise InvalidArguments(f"argument {position} of {export}: {error}") from None
    return tuple(values)


def parse_value(text: str, wanted: str) -> Value:
    """Return the core value of type `wanted` ("i32", "f64" …) that `text` names: integers signed, v128 as 16 bytes.

    Integers are decimal or 0x hex, with underscores between digits if you like, in the signed or the unsigned range.
    Raises `InvalidArguments` when the text is no such value, or the type cannot be written as text.
    """
    if wanted not in _EXPECTED:
        raise InvalidArguments(f"a {wanted} cannot be given on a command line")
    value: Value | None = None
    if len(text) <= _LONGEST:
        match wanted:
            case "i32":
                value = _integer(text, 32)
            case "i64":
                value = _integer(text, 64)
            case "v128":
                value = bytes.fromhex(text) if _V128.fullmatch(text) else None
            case "f32" | "f64":
                value = _float(text, single=wanted == "f32")
            case _ if text == "null":
                return None
    if value is None:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        raise InvalidArguments(f"{wanted} wanted, {_EXPECTED[wanted]}, not {shown!r}")
    return value


def _integer(text: str, bits: int) -> int | None:
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    number = int(match["hex"], 16) if match["hex"] else int(match["decimal"])
    number = -number if match["sign"] == "-" else number
    if not -(2 ** (bits - 1)) <= number < 2**bits:
        return None
    return number - 2**bits if number >= 2 ** (bits - 1) else number


def _float(text: str, *, single: bool) -> float | None:
    try:
        if _HEX_FLOAT.fullmatch(text):
            number = float.fromhex(text)
        elif _FLOAT.fullmatch(text):
            number = float(text)
            if math.isinf(number) and "inf" not in text.lower():
                return None
        else:
            return None
        if single:
            (number,) = struct.unpack("<f", struct.pack("<f", number))
    except (ValueError, OverflowError):
        return None
    return number


def format_value(value: Value) -> str:
    """Return the text of a core value, which `parse_value` reads back: `8`, `0.5`, `nan`, 32 hex digits for a v128.

    A reference is `null`, or in angle brackets the name of its kind, which cannot be read back.
    """
    if value is None:
        return "null"
    if isinstance(value, Reference):
        return f"<{value.kind}>"
    return value.hex() if isinstance(value, bytes) else repr(value)


def format_results(outcome: Outcome) -> str:
    """Return what a job returned as text: core values by `format_value`, a component's as JSON, a string as it is."""
    if outcome.returned is None:
        return " ".join([format_value(value) for value in outcome.values])
    (value,) = json_results(outcome) or ("",)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def json_results(outcome: Outcome) -> list[Any]:
    """Return what a job returned as JSON has it."""
    returned = outcome.returned
    if returned is None:
        return [json_value(value) for value in outcome.values]
    return [] if returned.type is None else [to_json(returned.type, returned.natural())]


def json_value(value: Value) -> Any:
    """Return a core value as JSON has it: NaN and the infinities as strings, a v128 as 32 hex digits."""
    if isinstance(value, Reference):
        return value.kind
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
