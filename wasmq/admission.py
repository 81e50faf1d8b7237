"""What is refused before it is queued, and why. Pure: arguments, limits and imports against what is allowed."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, NoReturn

from wasmq.errors import InvalidArguments, InvalidLimit, LimitTooHigh, UnknownExport, UnsatisfiedImport
from wasmq.job import Caps, Limits, Value
from wasmq.types import COMMAND, FunctionType, printable
from wasmq.units import format_size, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmq.config import LimitsConfig
    from wasmq.modules import Module

_f32 = struct.Struct("<f")


def check_call(module: Module, export: str, args: Sequence[Any]) -> tuple[Value, ...]:
    """Return the arguments as they go to the guest.

    Integers come out signed, numbers for f32 and f64 as floats, v128 as bytes. Raises `UnknownExport`,
    `InvalidArguments` or `UnsatisfiedImport`.
    """
    if module.missing:
        _refuse_imports(module)
    function = module.function(export)
    if export not in module.places:
        raise UnknownExport(f"export {printable(export)!r} {function}: references cannot be passed to or from a guest")
    return check_arguments(export, function, args)


def check_export(module: Module, export: str | None) -> str:
    """Return the export that a call names, by default a WASI command's `_start`. Raises `UnknownExport`."""
    if export is not None:
        return export
    if module.functions.get(COMMAND) == FunctionType((), ()):
        return COMMAND
    module.function(COMMAND)
    raise UnknownExport(f"export {COMMAND!r} {module.functions[COMMAND]}: a command takes and returns nothing")


def _refuse_imports(module: Module) -> NoReturn:
    wanted, offer = module.missing[0]
    more = f" (and {len(module.missing) - 1} more)" if len(module.missing) > 1 else ""
    name = f"{printable(wanted.module)}.{printable(wanted.name)}"
    if offer is not None:
        raise UnsatisfiedImport(
            f"module {module.digest[:12]}: the import {name} has another type: "
            f"it wants {wanted.type}, there is {offer}{more}"
        )
    raise UnsatisfiedImport(f"module {module.digest[:12]}: nobody offers the import {name} {wanted.type}{more}")


def check_arguments(export: str, function: FunctionType, args: Sequence[Any]) -> tuple[Value, ...]:
    """Return `args` as values of the parameters' types. Raises `InvalidArguments`."""
    params = function.params
    if len(args) != len(params):
        raise InvalidArguments(
            f"export {printable(export)!r} {function} takes {len(params)} argument{'s' * (len(params) != 1)}, "
            f"got {len(args)}"
        )
    try:
        return tuple([_CHECKS[param](arg) for param, arg in zip(params, args, strict=True)])
    except _Misfit:
        pass
    for place, (param, arg) in enumerate(zip(params, args, strict=True), 1):
        try:
            _CHECKS[param](arg)
        except _Misfit as misfit:
            raise InvalidArguments(f"argument {place} of {printable(export)!r} is {param}: {misfit}") from None
    raise AssertionError("an argument fits that did not")


def check_limits(limits: Limits | None, config: LimitsConfig) -> Caps:
    """Return the limits with defaults filled in. Raises `InvalidLimit` or `LimitTooHigh`, naming the limit."""
    if limits is None:
        return Caps(config.fuel, int(config.memory), config.timeout, int(config.output), int(config.files))
    ceilings = config.max
    fuel = config.fuel if limits.fuel is None else _whole("fuel", limits.fuel)
    memory = config.memory if limits.memory is None else _whole("memory", parse_size(limits.memory, "memory"))
    output = config.output if limits.output is None else _whole("output", parse_size(limits.output, "output"))
    files = config.files if limits.files is None else _whole("files", parse_size(limits.files, "files"))
    timeout = config.timeout if limits.timeout is None else _seconds("timeout", limits.timeout)
    if fuel > ceilings.fuel:
        raise LimitTooHigh(f"fuel: {fuel} is above the maximum of {ceilings.fuel} (limits.max.fuel)")
    if timeout > ceilings.timeout:
        raise LimitTooHigh(
            f"timeout: {timeout:g} s is above the maximum of {ceilings.timeout:g} s (limits.max.timeout)"
        )
    for name, size, ceiling in (
        ("memory", memory, ceilings.memory),
        ("output", output, ceilings.output),
        ("files", files, ceilings.files),
    ):
        if size > ceiling:
            raise LimitTooHigh(
                f"{name}: {format_size(size)} is above the maximum of {format_size(ceiling)} (limits.max.{name})"
            )
    return Caps(fuel, int(memory), timeout, int(output), int(files))


def check_priority(priority: Any) -> int:
    """Return a priority. Raises `InvalidArguments` unless it is an int between -1000 and 1000."""
    if not isinstance(priority, int) or isinstance(priority, bool) or not -1_000 <= priority <= 1_000:
        raise InvalidArguments(f"priority: {_shown(priority)} is not an int from -1000 to 1000; higher goes first")
    return priority


def check_delay(delay: Any) -> float:
    """Return a delay in seconds. Raises `InvalidArguments` unless it is a number from 0 to a year."""
    if not isinstance(delay, (int, float)) or isinstance(delay, bool) or not 0 <= delay <= 366 * 86_400:
        raise InvalidArguments(f"delay: {_shown(delay)} is not a number of seconds from 0 to a year")
    return float(delay)


def check_name(what: str, name: Any, limit: int = 200) -> str:
    """Return a tenant's name or a key. Raises `InvalidArguments` unless it is printable text of a sane length."""
    if not isinstance(name, str) or not 0 < len(name) <= limit or not name.isprintable():
        raise InvalidArguments(f"{what}: {_shown(name)} is not printable text of 1 to {limit} characters")
    return name


class _Misfit(Exception):
    """Raised with what is wrong about one argument."""


def _integer(bits: int) -> Callable[[Any], int]:
    low, half, high = -(2 ** (bits - 1)), 2 ** (bits - 1), 2**bits

    def check(arg: Any) -> int:
        if type(arg) is int or (isinstance(arg, int) and not isinstance(arg, bool)):
            if low <= arg < half:
                return int(arg)
            if arg < high and arg >= low:
                signed: int = int(arg) - high
                return signed
            raise _Misfit(f"{_shown(arg)} is outside its range, signed or unsigned")
        raise _Misfit(f"wants an int, got {_shown(arg)}")

    return check


def _float(arg: Any) -> float:
    if type(arg) is float:
        return arg
    if not isinstance(arg, (int, float)) or isinstance(arg, bool):
        raise _Misfit(f"wants a float or an int, got {_shown(arg)}")
    try:
        return float(arg)
    except OverflowError:
        raise _Misfit(f"{_shown(arg)} is outside its range") from None


def _single(arg: Any) -> float:
    number = _float(arg)
    try:
        _f32.pack(number)
    except OverflowError:
        raise _Misfit(f"{_shown(arg)} is outside its range") from None
    return number


def _vector(arg: Any) -> bytes:
    if not isinstance(arg, (bytes, bytearray)) or len(arg) != 16:
        got = f"{len(arg)} bytes" if isinstance(arg, (bytes, bytearray)) else _shown(arg)
        raise _Misfit(f"wants 16 bytes, got {got}")
    return bytes(arg)


_CHECKS: dict[str, Callable[[Any], Value]] = {
    "i32": _integer(32),
    "i64": _integer(64),
    "f32": _single,
    "f64": _float,
    "v128": _vector,
}


def _whole(name: str, number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidLimit(f"{name}: {_shown(number)} is not a whole number")
    if number < 1:
        raise InvalidLimit(f"{name}: {number} is not a limit; it must be at least 1")
    return number


def _seconds(name: str, number: Any) -> float:
    if not isinstance(number, (int, float)) or isinstance(number, bool) or math.isnan(number):
        raise InvalidLimit(f"{name}: {_shown(number)} is not a number of seconds")
    if number <= 0:
        raise InvalidLimit(f"{name}: {number:g} s is not a limit; it must be above 0")
    return float(number)


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 2**128:
        return f"an int of {value.bit_length()} bits"
    text = repr(value)
    return (text if len(text) <= 60 else text[:57] + "...") + f" ({type(value).__name__})"
