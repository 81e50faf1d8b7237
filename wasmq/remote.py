"""What a daemon says over HTTP, as the scheduler itself would have said it, and what it is asked. Pure."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from wasmq import errors, wit
from wasmq.config import Tenant
from wasmq.errors import NotDeterministic, UnknownExport, Unreachable, WasmqError
from wasmq.estimate import Estimate
from wasmq.exports import resolve_component
from wasmq.job import Access, Limits, Outcome, Program, State
from wasmq.ledger import Account
from wasmq.programs import check_program
from wasmq.receipts import Receipt  # noqa: TC001 - the decoder reads it from an annotation
from wasmq.recording import Recording
from wasmq.remote_values import arguments_body, core_values, doubtful, returned_of
from wasmq.types import (
    COMMAND,
    Extern,
    FunctionType,
    GlobalType,
    Import,
    MemoryType,
    TableType,
    TagType,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wasmq.submission import Request

__all__ = [
    "JobBody",
    "RemoteJob",
    "RemoteModule",
    "account_of",
    "error_of",
    "fuel_of",
    "job_bodies",
    "job_of",
    "module_of",
    "modules_of",
    "page_bodies",
    "recording_of",
    "request_body",
    "tenant_of",
    "tenants_of",
]

_DEFAULT: Final = "default"
_ENDLESS: Final = 2**62
_WASI: Final = "wasi_snapshot_preview1"
_TYPES: Final[dict[str, Any]] = {
    "function": FunctionType,
    "memory": MemoryType,
    "table": TableType,
    "global": GlobalType,
    "tag": TagType,
}
_SHOWN: Final = 200  # characters of an answer that makes no sense


@dataclass(frozen=True, eq=False)
class RemoteModule:
    """A module that a daemon has loaded: what is known of it here is what it exports and imports."""

    digest: str
    kind: Literal["module", "component"]
    size: int
    exports: tuple[Extern, ...]
    imports: tuple[Import, ...]
    functions: dict[str, FunctionType | wit.Func] = field(init=False, repr=False)
    """The exported functions by name."""

    def __post_init__(self) -> None:
        functions = {each.name: each.type for each in self.exports if isinstance(each.type, FunctionType | wit.Func)}
        object.__setattr__(self, "functions", functions)

    @property
    def command(self) -> str | None:
        """The export that runs it as a WASI command, None when it is none."""
        if self.kind == "module":
            return COMMAND if COMMAND in self.functions else None
        return next((each.name for each in self.exports if wit.is_command(each.name)), None)

    @property
    def wasi(self) -> tuple[str, ...]:
        """The WASI functions that it imports."""
        return tuple([each.name for each in self.imports if each.module == _WASI])

    def function(self, export: str) -> FunctionType | wit.Func:
        """Return an exported function's type. Raises `UnknownExport` naming what there is instead."""
        if self.kind == "component":
            return self.functions[resolve_component(self.functions, self.exports, export)]
        try:
            return self.functions[export]
        except KeyError:
            names = ", ".join(printable(name, 40) for name in list(self.functions)[:8]) or "none"
            raise UnknownExport(f"no export {printable(export)!r}; the module's functions: {names}") from None


class _Body(msgspec.Struct, frozen=True, gc=False):
    pass


class _ModuleBody(_Body, frozen=True):
    digest: str
    kind: Literal["module", "component"]
    size: int
    exports: tuple[dict[str, Any], ...]
    imports: tuple[dict[str, Any], ...]


class _OutcomeBody(Outcome, frozen=True, kw_only=True, gc=False):
    values: tuple[Any, ...] = ()
    basis: Receipt | None = msgspec.field(name="receipt", default=None)


class JobBody(_Body, frozen=True):
    """A job as a daemon tells of it."""

    id: str
    state: State
    module: str
    export: str
    tenant: str
    attempts: int
    submitted_at: str
    outcome: _OutcomeBody | None
    deadline: str | None = None
    at_risk: bool = False
    suspended: bool = False
    fuel_spent: int | None = None

    @property
    def doubtful(self) -> bool:
        """Whether its results can be read only with the module's description."""
        return self.outcome is not None and doubtful(self.outcome.values)


class _JobPage(_Body, frozen=True):
    jobs: tuple[JobBody, ...]
    cursor: str | None


class _ModuleList(_Body, frozen=True):
    modules: tuple[_ModuleBody, ...]


class _FuelBody(_Body, frozen=True):
    fuel: int


class _CallBody(_Body, frozen=True):
    module: str
    export: str
    args: tuple[Any, ...]
    link: dict[str, str]
    argv: tuple[str, ...]
    env: dict[str, str]
    stdin: bytes
    files: dict[str, bytes]
    collect: tuple[str, ...]
    dirs: dict[str, Access]
    name: str
    deterministic: bool
    limits: Limits


class _Problem(_Body, frozen=True):
    type: str
    detail: str


class RemoteJob(msgspec.Struct, frozen=True, gc=False):
    """A job as a daemon knows it: what a `JobRecord` says of itself. `submitted_at` is in seconds since 1970.

    So is `deadline`, None without one; `at_risk` is whether the daemon expected, when it accepted the job, that it will
    not be done by then.
    Of one that runs, `fuel_spent` is what it has spent by now, where that is known.
    """

    id: str
    state: State
    module: str
    export: str
    tenant: str
    attempts: int
    submitted_at: float
    outcome: Outcome | None
    deadline: float | None = None
    at_risk: bool = False
    suspended: bool = False
    fuel_spent: int | None = None


def _errors(below: Iterable[type[WasmqError]]) -> dict[str, type[WasmqError]]:
    found: dict[str, type[WasmqError]] = {}
    for kind in below:
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()
        found[f"urn:wasmq:{name}"] = kind
        found |= _errors(kind.__subclasses__())
    return found


_ERRORS: Final = {
    name: kind
    for name, kind in _errors(WasmqError.__subclasses__()).items()
    if not issubclass(kind, errors.JobError) and kind.__module__ == errors.__name__
}
_modules: Final = msgspec.json.Decoder(_ModuleList)
_module: Final = msgspec.json.Decoder(_ModuleBody)
_job: Final = msgspec.json.Decoder(JobBody | list[JobBody])
_fuel: Final = msgspec.json.Decoder(_FuelBody)
_call: Final = msgspec.json.Decoder(_CallBody)
_page: Final = msgspec.json.Decoder(_JobPage)
_estimate: Final = msgspec.json.Decoder(Estimate)
_tenants: Final = msgspec.json.Decoder(dict[str, dict[str, dict[str, Any]]])
_tenant_view: Final = msgspec.json.Decoder(dict[str, Any])
_account: Final = msgspec.json.Decoder(Account)
_problem: Final = msgspec.json.Decoder(_Problem)


def error_of(status: int, body: bytes) -> WasmqError:
    """Return the error that a problem stands for; `Unreachable` when the answer is none of this daemon's."""
    try:
        problem = _problem.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = printable(body[:_SHOWN].decode("utf-8", "replace"))
        return Unreachable(f"the answer, status {status}, is not one of a wasmq daemon: {text!r}")
    return _ERRORS.get(problem.type, WasmqError)(problem.detail)


def job_bodies(body: bytes) -> list[JobBody]:
    """Return the job, or the jobs, that an answer tells of. Raises `Unreachable` when it is no such answer."""
    try:
        jobs = _job.decode(body)
    except msgspec.DecodeError as error:
        raise _nonsense(error) from None
    return jobs if isinstance(jobs, list) else [jobs]


def fuel_of(body: bytes) -> int:
    """Return what a refuelled job may spend in all, as an answer tells. Raises `Unreachable` when it is no such one."""
    try:
        return _fuel.decode(body).fuel
    except msgspec.DecodeError as error:
        raise _nonsense(error) from None


def page_bodies(body: bytes) -> tuple[list[JobBody], str | None]:
    """Return the jobs of a page, and where the next one begins. Raises `Unreachable` when it is no such answer."""
    try:
        page = _page.decode(body)
    except msgspec.DecodeError as error:
        raise _nonsense(error) from None
    return list(page.jobs), page.cursor


def call_of(body: bytes) -> Request:
    """Return the call that an answer tells of. Raises `Unreachable` when it is no such answer."""
    from wasmq.submission import Request

    try:
        call = _call.decode(body)
    except msgspec.DecodeError as error:
        raise _nonsense(error) from None
    program = {name: getattr(call, name) for name in ("argv", "env", "stdin", "files", "collect", "dirs")}
    if any(program.values()) or call.name != Program().name or call.deterministic:
        program |= {"name": call.name, "deterministic": call.deterministic}
    return Request(
        module=call.module,
        export=call.export,
        args=call.args,
        link=call.link,
        limits=call.limits,
        program=program,  # type: ignore[arg-type]
    )


def recording_of(body: bytes) -> Recording:
    """Return the recording that an answer is. Raises `Unreachable` when it is none."""
    try:
        return Recording.unpack(body)
    except NotDeterministic as error:
        raise _nonsense(error) from None


def core_arguments(came: Iterable[Any]) -> tuple[Any, ...]:
    """Return a core function's arguments, which JSON has in a form of its own."""
    return core_values(came)


def estimate_of(body: bytes) -> Estimate:
    """Return the estimate that an answer gives. Raises `Unreachable` when it is no such answer."""
    try:
        return _estimate.decode(body)
    except msgspec.DecodeError as error:
        raise _nonsense(error) from None


def module_of(body: bytes) -> RemoteModule:
    """Return the module that an answer tells of. Raises `Unreachable` when it is no such answer."""
    try:
        return _remote_module(_module.decode(body))
    except (msgspec.DecodeError, LookupError) as error:
        raise _nonsense(error) from None


def modules_of(body: bytes) -> list[RemoteModule]:
    """Return the modules that an answer tells of. Raises `Unreachable` when it is no such answer."""
    try:
        return [_remote_module(each) for each in _modules.decode(body).modules]
    except (msgspec.DecodeError, LookupError) as error:
        raise _nonsense(error) from None


def tenants_of(body: bytes) -> dict[str, tuple[Tenant, Account | None]]:
    """Return the tenants that an answer tells of, with their accounts. Raises `Unreachable` when it is no such."""
    try:
        return {name: _tenant(each) for name, each in _tenants.decode(body)["tenants"].items()}
    except (msgspec.DecodeError, LookupError) as error:
        raise _nonsense(error) from None


def tenant_of(body: bytes) -> tuple[Tenant, Account | None]:
    """Return the tenant that an answer tells of, with its account. Raises `Unreachable` when it is no such answer."""
    try:
        return _tenant(_tenant_view.decode(body))
    except msgspec.DecodeError as error:
        raise _nonsense(error) from None


def account_of(body: bytes) -> Account:
    """Return the account that an answer tells of. Raises `Unreachable` when it is no such answer."""
    try:
        return _account.decode(body)
    except msgspec.DecodeError as error:
        raise _nonsense(error) from None


def _tenant(view: dict[str, Any]) -> tuple[Tenant, Account | None]:
    account = msgspec.convert(view.pop("account", None), Account | None)
    known = {name: value for name, value in view.items() if name in Tenant.__struct_encode_fields__}
    return msgspec.convert(known, Tenant, dec_hook=lambda wanted, value: wanted(value)), account


def request_body(request: Request, key: str, module: RemoteModule | None = None) -> dict[str, Any]:
    """Return the body that asks for a job; `module` is what is known of its module.

    The tenant "default" is left to the daemon: with a token it is the one that the token stands for. Raises
    `InvalidArguments` for what no guest could be given, or `UnknownExport`.
    """
    function = None
    if module is not None and module.kind == "component" and request.export is not None:
        function = module.function(request.export)
    body: dict[str, Any] = {
        "module": request.module,
        "export": request.export,
        "args": arguments_body(function, request.export or "", request.args),
        "priority": request.priority,
        "key": key,
        "delay": request.delay,
    }
    if request.deadline is not None:
        body["deadline"] = request.deadline
    if request.tenant != _DEFAULT:
        body["tenant"] = request.tenant
    if request.record is not None:
        body["record"] = request.record
    if request.reuse is not None:
        body["reuse"] = request.reuse
    if request.limits is not None:
        body["limits"] = request.limits
    if request.on_exhausted != "stop":
        body["on_exhausted"] = request.on_exhausted
    if request.grant:
        body["grant"] = (request.grant,) if isinstance(request.grant, str) else tuple(request.grant)
    if request.link is not None:
        body["link"] = {name: each if isinstance(each, str) else each.digest for name, each in request.link.items()}
    program = check_program(request.program, _ENDLESS, _ENDLESS) if request.program else None
    return body if program is None else body | msgspec.structs.asdict(program)


def job_of(body: JobBody, modules: Mapping[str, RemoteModule | None]) -> RemoteJob:
    """Return the job that a daemon tells of, its results read by what is known of its module.

    Raises `Unreachable` when they are not of the types that the daemon told.
    """
    outcome = None if body.outcome is None else _outcome(body.outcome, body.export, modules.get(body.module))
    submitted = datetime.datetime.fromisoformat(body.submitted_at).timestamp()
    deadline = None if body.deadline is None else datetime.datetime.fromisoformat(body.deadline).timestamp()
    return RemoteJob(
        body.id,
        body.state,
        body.module,
        body.export,
        body.tenant,
        body.attempts,
        submitted,
        outcome,
        deadline,
        body.at_risk,
        body.suspended,
        body.fuel_spent,
    )


def _outcome(came: _OutcomeBody, export: str, module: RemoteModule | None) -> Outcome:
    said = {name: getattr(came, name) for name in Outcome.__struct_fields__}
    function = None if module is None else module.functions.get(export)
    if not isinstance(function, wit.Func):
        said["values"] = core_values(came.values)
    elif came.status == "succeeded" and came.exit_code is None:
        said |= {"values": (), "returned": returned_of(function, came.values)}
    return Outcome(**said)


def _remote_module(body: _ModuleBody) -> RemoteModule:
    return RemoteModule(
        body.digest,
        body.kind,
        body.size,
        tuple([Extern(each["name"], _type(each["type"])) for each in body.exports]),
        tuple([Import(each["module"], each["name"], _type(each["type"])) for each in body.imports]),
    )


def _type(body: dict[str, Any]) -> Any:
    """Return the type of an export or import; one of a kind that is not known here as it came."""
    if body["kind"] == "component-function" and "types" in body:
        return msgspec.convert(body["types"], wit.Func)
    kind = _TYPES.get(body["kind"])
    if kind is None:
        return body
    facts = {name: tuple(value) if isinstance(value, list) else value for name, value in body.items() if name != "kind"}
    return kind(**facts)


def _nonsense(error: Exception) -> Unreachable:
    return Unreachable(f"the answer is not one of a wasmq daemon: {error}")
