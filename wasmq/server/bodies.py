"""What travels in the requests and responses, and how a JSON value becomes a core value and back. Pure.

Integers are JSON numbers, exact to 64 bits, and are accepted as decimal strings too, because many JSON readers keep
only 53 bits. NaN and the infinities are the strings "NaN", "Infinity" and "-Infinity"; a v128 is 32 hex digits, its
16 bytes in memory order; stdin, stdout, stderr and the content of files
are base64. Values of components have forms of their own: see `wasmq.wit_values`.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar

import msgspec

from wasmq.errors import InvalidArguments, WasmqError
from wasmq.job import Access, Limits, OnExhausted, Outcome, Reference, Reuse, State, Status, Trap, Value
from wasmq.receipts import Receipt
from wasmq.types import NUMBERS, PASSABLE, FunctionType, printable
from wasmq.wit_json import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmq import wit
    from wasmq.store import JobRecord
    from wasmq.submission import ProgramOptions

__all__ = [
    "MAX_KEY",
    "MAX_NAME",
    "FuelBody",
    "FuelRequest",
    "InvalidBody",
    "JobBody",
    "JobPage",
    "JobRequest",
    "JsonValue",
    "LimitsRequest",
    "MalformedBody",
    "OutcomeBody",
    "arguments",
    "decode",
    "job_body",
    "json_value",
    "outcome_values",
    "read_arguments",
]

_T = TypeVar("_T")


class MalformedBody(WasmqError):
    """Raised when a request's body is not JSON."""


class InvalidBody(WasmqError):
    """Raised when a request's body is JSON, but not what is described at /schema; names the place."""


MAX_NAME: Final = 200
"""Characters in a tenant's name, as admission allows."""
MAX_KEY: Final = 255
"""Characters in an idempotency key, as admission allows."""
_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Key: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY)]
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
_VALUE: Final = (
    'i32 and i64 are integers (or decimal strings); f32 and f64 numbers, decimal strings, "NaN", "Infinity" or '
    '"-Infinity"; v128 is 32 hex digits, its bytes in memory order. For a component: a record is an object, a list or '
    "tuple an array, list<u8> base64, flags an array of strings, an enum a string, an option null or the value, "
    'a result {"ok": …} or {"err": …}, a variant "case" or {"case": …}.'
)
_JsonResult: TypeAlias = Annotated[
    Any,
    msgspec.Meta(
        description="null without a result, the value itself when there is one, an array when there are several.",
        extra_json_schema={
            "anyOf": [
                {"type": "null"},
                {"type": "integer"},
                {"type": "number"},
                {"type": "string"},
                {"type": "boolean"},
                {"type": "array"},
                {"type": "object"},
            ]
        },
    ),
]


class LimitsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the job may spend; what is left out takes the configured default."""

    fuel: Annotated[
        int | Annotated[str, msgspec.Meta(pattern="^[0-9]{1,19}$")] | None,
        msgspec.Meta(description="Units of wasmtime's meter, about one per executed instruction."),
    ] = None
    memory: Annotated[int | str | None, msgspec.Meta(description='Bytes, or text such as "16MiB".')] = None
    timeout: Annotated[float | None, msgspec.Meta(description="Seconds of wall time once running.")] = None
    output: Annotated[
        int | str | None, msgspec.Meta(description='Bytes kept of stdout and stderr together, or text such as "64KiB".')
    ] = None
    files: Annotated[
        int | str | None,
        msgspec.Meta(description='Bytes that the job\'s files may have together, or text such as "16MiB".'),
    ] = None
    host_calls: Annotated[int | None, msgspec.Meta(description="Calls of host functions.")] = None
    suspend: Annotated[
        float | None, msgspec.Meta(description="Seconds that it waits to be refuelled, with on_exhausted suspend.")
    ] = None

    recording: Annotated[
        int | str | None,
        msgspec.Meta(description='Bytes that its host calls may take, with record, or text such as "1MiB".'),
    ] = None

    def limits(self) -> Limits:
        """Return the same as the core's own value."""
        fuel = int(self.fuel) if isinstance(self.fuel, str) else self.fuel
        return Limits(
            fuel=fuel,
            memory=self.memory,
            timeout=self.timeout,
            output=self.output,
            files=self.files,
            host_calls=self.host_calls,
            suspend=self.suspend,
            recording=self.recording,
        )


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call to be queued, or without an export the run of a WASI command."""

    module: Annotated[str, msgspec.Meta(description="The digest that PUT /v1/modules returned.")]
    export: str | None = None
    args: Annotated[tuple[JsonValue, ...], msgspec.Meta(description=_VALUE)] = ()
    link: Annotated[
        dict[str, str], msgspec.Meta(description="Digests of modules that satisfy imports, by the name imported from.")
    ] = {}
    argv: Annotated[tuple[str, ...], msgspec.Meta(description="Arguments that follow the program's name.")] = ()
    env: dict[str, str] = {}
    stdin: bytes = b""
    files: Annotated[
        dict[str, bytes], msgspec.Meta(description="Content by path, put into the job's scratch directory.")
    ] = {}
    collect: Annotated[
        tuple[str, ...],
        msgspec.Meta(description='Paths of files to bring back; one that ends in "/" is all files below it.'),
    ] = ()
    dirs: Annotated[
        dict[str, Access], msgspec.Meta(description="Directories that the guest gets under names of their own.")
    ] = {}
    name: Annotated[str, msgspec.Meta(description="The program's name, its first argument.")] = "program"
    deterministic: Annotated[bool, msgspec.Meta(description="The same clock and random numbers in each run.")] = False
    limits: LimitsRequest = LimitsRequest()
    tenant: Annotated[_Name | None, msgspec.Meta(description='The token\'s own; without tokens "default".')] = None
    priority: Annotated[int, msgspec.Meta(ge=-1_000, le=1_000, description="The highest goes first.")] = 0
    key: Annotated[_Key | None, msgspec.Meta(description="The same key and call again is the same job.")] = None
    delay: Annotated[float, msgspec.Meta(ge=0, le=366 * 86_400, description="Seconds before it may start.")] = 0.0
    deadline: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400)] | None,
        msgspec.Meta(description="Seconds from now by which it is to have ended."),
    ] = None
    grant: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description='Host functions that this job alone may import; for who administers. As "env.lookup".'
        ),
    ] = ()

    on_exhausted: Annotated[
        OnExhausted, msgspec.Meta(description="When its fuel is spent: stop ends it, suspend waits for more.")
    ] = "stop"
    reuse: Annotated[
        Reuse | None,
        msgspec.Meta(
            description="Whether the run of an identical job of the tenant may answer this one: one that is under way, "
            "or one that has ended as well. null is the tenant's choice."
        ),
    ] = None

    record: Annotated[
        bool | None,
        msgspec.Meta(description="Whether its host calls are kept, to replay it. null is the tenant's choice."),
    ] = None

    def program(self) -> ProgramOptions:
        """Return what a WASI guest is to see."""
        return {
            "argv": self.argv,
            "env": self.env,
            "stdin": self.stdin,
            "files": self.files,
            "collect": self.collect,
            "dirs": self.dirs,
            "name": self.name if self.name != "program" else "",
            "deterministic": self.deterministic,
        }


class FuelRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fuel that a job may spend besides what it may now."""

    fuel: int | Annotated[str, msgspec.Meta(pattern="^[0-9]{1,19}$")]


class FuelBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a job may spend in all."""

    id: str
    fuel: int


class OutcomeBody(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended, and its exact bill: fuel, bytes and seconds."""

    status: Status
    value: _JsonResult
    values: Annotated[tuple[JsonValue, ...], msgspec.Meta(description=_VALUE)]
    fuel_used: int
    memory_peak: int
    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    files: dict[str, bytes]
    exit_code: int | None
    error: str | None
    trap: Trap | None
    queued: float
    ran: float
    attempts: int
    worker: str | None
    engine: str
    engine_version: str
    reused: Annotated[str | None, msgspec.Meta(description="The job whose run answered this one.")]
    fuel_saved: Annotated[int, msgspec.Meta(description="What that run had used and this job was not charged.")]
    receipt: Annotated[
        Receipt | None, msgspec.Meta(description="Of a job that comes by itself; null in an array or a page.")
    ]


class JobBody(msgspec.Struct, frozen=True, kw_only=True):
    """One job; `outcome` is null until it has finished. What follows that is said of one that runs, where known."""

    id: str
    state: State
    module: str
    export: str
    tenant: str
    attempts: int
    submitted_at: datetime.datetime
    deadline: datetime.datetime | None
    outcome: OutcomeBody | None
    at_risk: Annotated[
        bool | msgspec.UnsetType,
        msgspec.Meta(description="Whether it is expected to miss its deadline: in the answer that accepts it."),
    ] = msgspec.UNSET
    suspended: Annotated[
        bool | msgspec.UnsetType, msgspec.Meta(description="Whether it has spent its fuel and waits for more.")
    ] = msgspec.UNSET
    fuel_spent: Annotated[
        int | msgspec.UnsetType, msgspec.Meta(description="What it has spent by now, in this attempt.")
    ] = msgspec.UNSET


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some jobs, newest first; `cursor` asks for those after them and is null at the end."""

    jobs: tuple[JobBody, ...]
    cursor: str | None


def decode(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """Return what the body says. Raises `MalformedBody` when it is not JSON, `InvalidBody` when it is another thing."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidBody(str(error)) from None
    except msgspec.DecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    except UnicodeDecodeError:
        raise MalformedBody("the body is not JSON: not UTF-8") from None
    except RecursionError:
        raise MalformedBody("the body is not JSON that can be read: nested too deep") from None


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


def job_body(record: JobRecord, *, alone: bool = True, at_risk: bool | msgspec.UnsetType = msgspec.UNSET) -> JobBody:
    """Return what HTTP says about a job; one that is not `alone` comes without its receipt, which takes time."""
    job, outcome = record.job, record.outcome
    return JobBody(
        id=job.id,
        state=record.state,
        module=job.call.module,
        export=job.call.export,
        tenant=job.tenant,
        attempts=record.attempts,
        submitted_at=datetime.datetime.fromtimestamp(job.submitted_at, datetime.UTC),
        deadline=None if job.deadline is None else datetime.datetime.fromtimestamp(job.deadline, datetime.UTC),
        at_risk=at_risk,
        suspended=record.suspended if record.state == "running" else msgspec.UNSET,
        fuel_spent=msgspec.UNSET if record.fuel_spent is None else record.fuel_spent,
        outcome=None if outcome is None else _outcome_body(outcome, outcome.of(job).receipt if alone else None),
    )


def _outcome_body(outcome: Outcome, receipt: Receipt | None) -> OutcomeBody:
    values = outcome_values(outcome)
    return OutcomeBody(
        status=outcome.status,
        value=values[0] if len(values) == 1 else values or None,
        values=values,
        fuel_used=outcome.fuel_used,
        memory_peak=outcome.memory_peak,
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        stdout_truncated=outcome.stdout_truncated,
        stderr_truncated=outcome.stderr_truncated,
        files=outcome.files,
        exit_code=outcome.exit_code,
        error=outcome.error,
        trap=outcome.trap,
        queued=outcome.queued,
        ran=outcome.ran,
        attempts=outcome.attempts,
        worker=outcome.worker,
        engine=outcome.engine,
        engine_version=outcome.engine_version,
        reused=outcome.reused,
        fuel_saved=outcome.fuel_saved,
        receipt=receipt,
    )


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
