"""Arguments and results of jobs over HTTP: natural Python here, JSON there. Pure.

JSON says what it says of most values. Where it leaves a doubt (text may be 16 bytes or a string, an object a record or
a variant), the types in the module's description decide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from wasmq import wit
from wasmq.errors import InvalidArguments, Unreachable
from wasmq.job import Returned
from wasmq.types import printable
from wasmq.wit_json import from_json, to_json
from wasmq.wit_values import natural, pack_arguments, pack_result

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wasmq.types import FunctionType

__all__ = ["arguments_body", "core_values", "doubtful", "returned_of"]

_V128: Final = re.compile(r"[0-9a-fA-F]{32}")
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def doubtful(values: Iterable[Any]) -> bool:
    """Return whether values mean one thing for a module and another for a component."""
    return any(value is not None and not isinstance(value, (bool, int, float)) for value in values)


def arguments_body(function: FunctionType | wit.Func | None, export: str, args: Sequence[Any]) -> list[Any]:
    """Return arguments as JSON has them. `function` is None when it is not known: then they are core values.

    Raises `InvalidArguments`, for a component's function as the scheduler does.
    """
    if not isinstance(function, wit.Func):
        return [_core_json(place, value) for place, value in enumerate(args, 1)]
    # What was packed has been checked, and comes back with every name as the type has it.
    wires = msgspec.msgpack.decode(pack_arguments(export, function, args))
    return [to_json(param.type, natural(param.type, wire)) for param, wire in zip(function.params, wires, strict=True)]


def _core_json(place: int, value: Any) -> Any:
    """Return an argument as JSON has it; what is no core value is left to the daemon to refuse."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(int(value))
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        )
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, (str, list, tuple, Mapping)):
        # Text would be read as the number that it shows, which no argument of a core function is.
        raise InvalidArguments(f"argument {place}: wants a number or 16 bytes, got {printable(repr(value), 60)}")
    return value


def core_values(came: Iterable[Any]) -> tuple[Any, ...]:
    """Return a module's results as core values."""
    return tuple([_core_value(value) for value in came])


def _core_value(came: Any) -> Any:
    if isinstance(came, str):
        if came in _NOT_FINITE:
            return _NOT_FINITE[came]
        if _V128.fullmatch(came):
            return bytes.fromhex(came)
    return came


def returned_of(function: wit.Func, came: Sequence[Any]) -> Returned:
    """Return a component's result. Raises `Unreachable` when it is not of the type that the daemon told."""
    type_ = function.result
    if len(came) != (type_ is not None):
        wrong = f"{len(came)} results of {printable(str(function), 80)}"
        raise Unreachable(f"the answer is not one of a wasmq daemon: {wrong}")
    try:
        values = [] if type_ is None else [from_json(type_, each) for each in came]
        return Returned(type_, pack_result(type_, values[0] if values else None))
    except (ValueError, RecursionError) as error:
        raise Unreachable(f"the answer is not one of a wasmq daemon: {error}") from None
