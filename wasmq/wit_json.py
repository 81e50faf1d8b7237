"""Natural values of WIT types as JSON, and back: see the table of `wit_values`."""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING, Any, Final

from wasmq import wit
from wasmq.wit_values import RANGES, Case, Err, Ok, Some, is_ambiguous, is_bytes

if TYPE_CHECKING:
    from wasmq.wit import ValueType

__all__ = ["from_json", "to_json"]


def to_json(type_: ValueType | None, value: Any) -> Any:
    """Return a natural value of a type as what JSON can carry."""
    match type_:
        case None:
            return None
        case "f32" | "f64":
            if math.isfinite(value):
                return value
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case str() | wit.Enum():
            return value
        case wit.List():
            if is_bytes(type_):
                return base64.b64encode(value).decode()
            return [to_json(type_.element, each) for each in value]
        case wit.Tuple():
            return [to_json(item, each) for item, each in zip(type_.items, value, strict=True)]
        case wit.Record():
            return {field.name: to_json(field.type, value[field.name]) for field in type_.fields}
        case wit.Option():
            if value is None:
                return None
            return {"some": to_json(type_.some, value.value)} if is_ambiguous(type_) else to_json(type_.some, value)
        case wit.Result():
            if isinstance(value, Ok):
                return {"ok": to_json(type_.ok, value.value)}
            return {"err": to_json(type_.err, value.value)}
        case wit.Variant():
            inner = next(case.type for case in type_.cases if case.name == value.name)
            return value.name if inner is None else {value.name: to_json(inner, value.value)}
        case wit.Flags():
            return [name for name in type_.names if name in value]
    raise AssertionError(f"a {type_} came out of a job")


def from_json(type_: ValueType, came: Any) -> Any:
    """Return decoded JSON as a natural value, as far as the type can tell; what does not fit stays as it came.

    `pack_arguments` then says what is wrong with it.
    """
    match type_:
        case "f32" | "f64":
            return _NOT_FINITE.get(came, came) if isinstance(came, str) else came
        case str():
            if type_ in RANGES and isinstance(came, str) and _is_decimal(came):
                return int(came)
            return came
        case wit.List():
            if is_bytes(type_) and isinstance(came, str):
                try:
                    return base64.b64decode(came, validate=True)
                except (binascii.Error, ValueError):
                    return came
            return [from_json(type_.element, each) for each in came] if isinstance(came, list) else came
        case wit.Tuple():
            if not isinstance(came, list) or len(came) != len(type_.items):
                return came
            return tuple([from_json(item, each) for item, each in zip(type_.items, came, strict=True)])
        case wit.Record():
            if not isinstance(came, dict):
                return came
            types = {field.name: field.type for field in type_.fields}
            return {
                key: from_json(types[known], each) if (known := key.replace("_", "-")) in types else each
                for key, each in came.items()
            }
        case wit.Option():
            if came is None or not is_ambiguous(type_):
                return None if came is None else from_json(type_.some, came)
            alone = _alone(came)
            return Some(from_json(type_.some, alone[1])) if alone and alone[0] == "some" else came
        case wit.Result():
            if came in ("ok", "err"):
                came = {came: None}
            alone = _alone(came)
            if alone is None or alone[0] not in ("ok", "err"):
                return came
            inner = type_.ok if alone[0] == "ok" else type_.err
            return (Ok if alone[0] == "ok" else Err)(alone[1] if inner is None else from_json(inner, alone[1]))
        case wit.Variant():
            alone = _alone(came)
            if alone is None:
                return came
            inner = next((case.type for case in type_.cases if case.name == alone[0].replace("_", "-")), None)
            return Case(alone[0], alone[1] if inner is None else from_json(inner, alone[1]))
    return came


_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _is_decimal(text: str) -> bool:
    digits = text.removeprefix("-")
    return len(digits) <= 20 and digits.isascii() and digits.isdecimal()


def _alone(came: Any) -> tuple[str, Any] | None:
    if isinstance(came, dict) and len(came) == 1:
        ((name, value),) = came.items()
        return name, value
    return None
