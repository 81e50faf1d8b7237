"""What is refused before it is queued, and why. Pure: arguments, limits and imports against what is allowed."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, cast, get_args

from wasmq import wit
from wasmq.errors import InvalidArguments, InvalidLimit, LimitTooHigh, UnknownExport, UnsatisfiedImport
from wasmq.job import Caps, Limits, OnExhausted, Reuse, Value
from wasmq.supply import arrange
from wasmq.types import COMMAND, NUMBERS, PASSABLE, FunctionType, printable
from wasmq.units import format_size, parse_size
from wasmq.wit_values import pack_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from wasmq.config import LimitsConfig
    from wasmq.host import HostFunctions
    from wasmq.job import Job
    from wasmq.modules import Module
    from wasmq.supply import Supply

_f32 = struct.Struct("<f")
_BEYOND = 2**63


def check_call(module: Module, export: str, args: Sequence[Any]) -> tuple[Value, ...]:
    """Return the arguments as they go to the guest; those of a component as one piece of bytes.

    Integers come out signed, numbers for f32 and f64 as floats, v128 as bytes. Raises `UnknownExport` or
    `InvalidArguments`.
    """
    function = module.function(export)
    if isinstance(function, wit.Func):
        obstacle = wit.obstacle(function)
        if obstacle is not None:
            raise UnknownExport(f"export {printable(export)!r} cannot be called: {obstacle}")
        return (pack_arguments(export, function, args),)
    if export not in module.places:
        raise UnknownExport(
            f"export {printable(export)!r} {function}: of references only null can be passed, where the type allows it"
        )
    return check_arguments(export, function, args)


def check_export(module: Module, export: str | None) -> str:
    """Return the export that a call names, by default what runs a WASI command. Raises `UnknownExport`."""
    if export is not None:
        return module.resolve(export)
    if module.kind == "component":
        if module.command is None:
            raise UnknownExport(f"it is no WASI command: no export wasi:cli/run@0.2 among {len(module.exports)}")
        return module.command
    if module.functions.get(COMMAND) == FunctionType((), ()):
        return COMMAND
    module.function(COMMAND)
    raise UnknownExport(f"export {COMMAND!r} {module.functions[COMMAND]}: a command takes and returns nothing")


def check_imports(
    module: Module,
    links: tuple[tuple[str, Module], ...],
    functions: HostFunctions,
    tenant: str,
    granted: Collection[str] | None,
) -> None:
    """Raise `UnsatisfiedImport` unless all that a module and its `links` import is offered, with its type, and granted.

    `granted` names the host functions that were granted to the tenant or to this job, None when that was decided
    before. What is imported from a name that is linked never comes from a host function.
    """
    if links and module.kind == "component":
        raise InvalidArguments(f"link: module {module.digest[:12]} is a component, which cannot be linked with others")
    linked = {name for name, _ in links}
    refusals = [
        (owner, why)
        for owner, supply in arrange(module, links).missing
        if (why := _refusal(supply, linked, functions, tenant, granted))
    ]
    if refusals:
        owner, why = refusals[0]
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        raise UnsatisfiedImport(f"module {owner.digest[:12]}: {why}{more}")


def _refusal(
    supply: Supply, linked: Collection[str], functions: HostFunctions, tenant: str, granted: Collection[str] | None
) -> str | None:
    """Return why an import that nothing else meets is not met by a host function either; None when it is."""
    wanted = supply.wanted
    name = f"{printable(wanted.module)}.{printable(wanted.name)}"
    function = functions.find(wanted) if wanted.module not in linked else None
    if function is None:
        return supply.problem
    if function.type != wanted.type:
        return f"the import {name} has another type: it wants {wanted.type}, there is {function.type}"
    if granted is None or tenant in function.tenants or "*" in function.tenants or function.name in granted:
        return None
    return (
        f"the import {name} is not granted to tenant {printable(tenant)!r}: offer the host function with "
        f'tenants=, give the tenant grant = ["{name}"], or submit the job with grant='
    )


def check_grant(grant: Any) -> tuple[str, ...]:
    """Return the names of host functions that a job is granted. Raises `InvalidArguments` unless they are text."""
    names = (grant,) if isinstance(grant, str) else tuple(grant)
    return tuple([check_name("grant", name, limit=401) for name in names])


def as_value(kind: str, value: Any) -> Value:
    """Return a value as one of a core type. Raises `ValueError` saying what came."""
    try:
        return _CHECKS[kind](value)
    except _Misfit as misfit:
        raise ValueError(str(misfit)) from None


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


def check_limits(
    limits: Limits | None, config: LimitsConfig, on_exhausted: Any = "stop", *, record: bool = False
) -> Caps:
    """Return the limits with defaults filled in. Raises `InvalidLimit` or `LimitTooHigh`, naming the limit."""
    suspend = _check_suspend(limits, config, on_exhausted)
    recording = _check_recording(limits, config, record=record)
    if limits is None:
        return Caps(
            config.fuel,
            int(config.memory),
            config.timeout,
            int(config.output),
            int(config.files),
            config.host_calls,
            suspend,
            recording,
        )
    ceilings = config.max
    fuel = config.fuel if limits.fuel is None else _whole("fuel", limits.fuel)
    memory = config.memory if limits.memory is None else _whole("memory", parse_size(limits.memory, "memory"))
    output = config.output if limits.output is None else _whole("output", parse_size(limits.output, "output"))
    files = config.files if limits.files is None else _whole("files", parse_size(limits.files, "files"))
    timeout = config.timeout if limits.timeout is None else _seconds("timeout", limits.timeout)
    host_calls = config.host_calls if limits.host_calls is None else _whole("host_calls", limits.host_calls)
    if host_calls > ceilings.host_calls:
        raise LimitTooHigh(
            f"host_calls: {host_calls} is above the maximum of {ceilings.host_calls} (limits.max.host_calls)"
        )
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
        ("recording", recording, ceilings.recording),
    ):
        if size > ceiling:
            raise LimitTooHigh(
                f"{name}: {format_size(size)} is above the maximum of {format_size(ceiling)} (limits.max.{name})"
            )
    return Caps(fuel, int(memory), timeout, int(output), int(files), host_calls, suspend, recording)


def _check_suspend(limits: Limits | None, config: LimitsConfig, on_exhausted: Any) -> float:
    """Return the seconds that a job is suspended when its fuel is spent; 0 when it then stops."""
    if on_exhausted not in get_args(OnExhausted):
        raise InvalidArguments(f"on_exhausted: {_shown(on_exhausted)} is neither 'stop' nor 'suspend'")
    wanted = None if limits is None else limits.suspend
    if on_exhausted == "stop":
        if wanted is not None:
            raise InvalidLimit("suspend: it is for a job with on_exhausted='suspend'; this one stops")
        return 0.0
    seconds = config.suspend if wanted is None else _seconds("suspend", wanted)
    if seconds > config.max.suspend:
        raise LimitTooHigh(
            f"suspend: {seconds:g} s is above the maximum of {config.max.suspend:g} s (limits.max.suspend)"
        )
    return seconds


def _check_recording(limits: Limits | None, config: LimitsConfig, *, record: bool) -> int:
    """Return the bytes that a job's recording may have; 0 when its host calls are not recorded."""
    wanted = None if limits is None else limits.recording
    if not record:
        if wanted is not None:
            raise InvalidLimit("recording: it is for a job with record=True; the host calls of this one are not kept")
        return 0
    return int(config.recording) if wanted is None else _whole("recording", parse_size(wanted, "recording"))


def check_refuel(job: Job, fuel: Any, under_way: int, config: LimitsConfig) -> int:
    """Return the fuel that a job is to be given, besides what is `under_way` to it.

    Raises `InvalidLimit` or `LimitTooHigh`.
    """
    more = _whole("fuel", fuel)
    check_cap(job, config.max.fuel, under_way + more)
    return more


def check_cap(job: Job, most: int, more: int = 0) -> None:
    """Raise `LimitTooHigh` when a job that was refuelled, and is to get `more`, may spend above `most` in all."""
    total = job.fuel + more
    if total > most:
        raise LimitTooHigh(f"fuel: {total} in all is above the maximum of {most} (limits.max.fuel)")


def check_memory(need: int, share: int) -> None:
    """Raise `LimitTooHigh` when a job can come to more memory than one worker has; both in bytes."""
    if need > share:
        raise LimitTooHigh(
            f"memory: the job can come to {format_size(need)} with its output, files and stack, which is above the "
            f"{format_size(share)} that one worker has (scheduler.memory)"
        )


def check_priority(priority: Any) -> int:
    """Return a priority. Raises `InvalidArguments` unless it is an int between -1000 and 1000."""
    if not isinstance(priority, int) or isinstance(priority, bool) or not -1_000 <= priority <= 1_000:
        raise InvalidArguments(f"priority: {_shown(priority)} is not an int from -1000 to 1000; higher goes first")
    return priority


def check_reuse(reuse: Any) -> Reuse:
    """Return whether another job's run may answer this one. Raises `InvalidArguments` unless it is one of `Reuse`."""
    if reuse not in get_args(Reuse):
        raise InvalidArguments(f"reuse: {_shown(reuse)} is none of {', '.join(get_args(Reuse))}")
    return cast("Reuse", reuse)


def check_record(record: Any) -> bool:
    """Return whether a job's host calls are recorded. Raises `InvalidArguments` unless it is a bool."""
    if not isinstance(record, bool):
        raise InvalidArguments(f"record: {_shown(record)} is neither True nor False")
    return record


def check_delay(delay: Any) -> float:
    """Return a delay in seconds. Raises `InvalidArguments` unless it is a number from 0 to a year."""
    if not isinstance(delay, (int, float)) or isinstance(delay, bool) or not 0 <= delay <= 366 * 86_400:
        raise InvalidArguments(f"delay: {_shown(delay)} is not a number of seconds from 0 to a year")
    return float(delay)


def check_deadline(deadline: Any, delay: float) -> float | None:
    """Return a deadline in seconds from now, None for none. Raises `InvalidArguments` for one in the past.

    Nor can it be above a year, or over before a job's `delay` is.
    """
    if deadline is None:
        return None
    if not isinstance(deadline, (int, float)) or isinstance(deadline, bool) or not 0 < deadline <= 366 * 86_400:
        raise InvalidArguments(
            f"deadline: {_shown(deadline)} is not a number of seconds from now, above 0 and up to a year"
        )
    if deadline <= delay:
        raise InvalidArguments(f"deadline: {deadline:g} s from now is not after the delay of {delay:g} s")
    return float(deadline)


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


def _null(arg: Any) -> None:
    if arg is not None:
        raise _Misfit(f"wants None, for of references only null can be passed, got {_shown(arg)}")


_CHECKS: dict[str, Callable[[Any], Value]] = {
    **dict.fromkeys(PASSABLE - NUMBERS, _null),
    "i32": _integer(32),
    "i64": _integer(64),
    "f32": _single,
    "f64": _float,
    "v128": _vector,
}


def _whole(name: str, number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidLimit(f"{name}: {_shown(number)} is not a whole number")
    if not 1 <= number < _BEYOND:
        raise InvalidLimit(f"{name}: {_shown(number)} is not a limit; it must be at least 1, and below 2**63")
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
    try:
        text = repr(value)
    except Exception:  # somebody else's __repr__
        return f"a {type(value).__name__}"
    return (text if len(text) <= 60 else text[:57] + "...") + f" ({type(value).__name__})"
