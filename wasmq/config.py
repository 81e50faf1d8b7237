"""The configuration: one TOML file, then `WASMQ_*` environment variables, then what the caller says.

Every key has a finite default; an unknown key or an impossible value is a `ConfigError` that names it.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from wasmq.cron import Cron
from wasmq.errors import ConfigError, InvalidLimit
from wasmq.job import Limits, Reuse
from wasmq.ledger import Terms
from wasmq.printing import printable
from wasmq.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Config",
    "EngineName",
    "HostConfig",
    "HostFunctionConfig",
    "LimitCeilings",
    "LimitsConfig",
    "LogsConfig",
    "MetricsConfig",
    "ModulesConfig",
    "PeriodicConfig",
    "PricesConfig",
    "ReuseConfig",
    "Role",
    "SchedulerConfig",
    "ServerConfig",
    "Size",
    "StoreConfig",
    "Tenant",
    "checked_tenant",
    "configured",
    "load_config",
]

ENVIRONMENT_PREFIX = "WASMQ_"
# Variables with the prefix that are not keys of the configuration.
_OTHER_VARIABLES = frozenset({"WASMQ_CA", "WASMQ_CONFIG", "WASMQ_URL", "WASMQ_TOKEN"})
_TEST_PREFIX = "WASMQ_TEST_"
MAX_MEMORY = 4 * 2**30  # what the engine reserves for one linear memory, and so the most that one job can have

_MAX_LINE = 2_000  # characters of what is said to be wrong
MAX_HOST_BYTES = 16 * 2**20
MAX_CARRIED = 60 * 2**20  # bytes of files and output that one frame between the processes has room for


_T = TypeVar("_T", bound=msgspec.Struct)


class Size(int):
    """Bytes; in a file or variable a number or text such as "16MiB"."""


EngineName: TypeAlias = Literal["native", "interpreter"]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Fuel: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=366 * 86400)]


_Token: TypeAlias = Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]
WallName: TypeAlias = Literal[
    "code", "limits", "root", "bounds", "user", "capabilities", "landlock", "memory", "seccomp"
]
"""The walls that can be left out."""
Role: TypeAlias = Literal["submit", "observe", "administer"]
"""submit: queue and cancel; observe: look and wait; administer: both for every tenant, the tenants and the metrics."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class SchedulerConfig(_Section, frozen=True):
    """`[scheduler]`: who runs the jobs, and how many may wait."""

    workers: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    """Worker processes; None is one per core that this process may use."""
    store: str | None = None
    """Where jobs live, as a URL; None is memory:// for an embedded scheduler, sqlite:///wasmq.db for the daemon."""
    engine: EngineName = "native"
    """native (machine code by Cranelift) or interpreter (Pulley bytecode, no machine code made for guests)."""
    quantum: Annotated[int, msgspec.Meta(ge=1_000, le=10**9)] = 100_000
    """Fuel that an instance may spend before the next one gets its turn."""
    instances: Annotated[int, msgspec.Meta(ge=1, le=14_000)] = 4_000
    """Live instances in one worker; each costs about 13 KB and 4 memory mappings while suspended, 400 bytes unused."""
    memory: Size | None = None
    """Bytes that all jobs which run at once can come to together, divided equally among the workers; None is 60 % of
    what the machine, or its control group, has."""
    max_queued: _Count = 100_000
    """Jobs that may wait; then submit waits for room, or refuses."""
    deadlines: Literal["refuse", "flag"] = "refuse"
    """What becomes of a job that is not expected to be done by its deadline: refused, or accepted and flagged."""
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    """Times that a job is started when its worker keeps dying."""
    retry_backoff: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0.1
    """Seconds, at most, until a job whose worker died starts again; doubled with each attempt, then drawn by lot."""
    retry_backoff_max: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 10.0
    """Seconds that this comes to at most, after however many attempts."""
    grace: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 10.0
    """Seconds that running jobs get to finish when the scheduler stops."""
    stuck_after: _Seconds = 30.0
    """Seconds of silence after which a worker is killed and replaced."""
    classes: dict[str, Annotated[float, msgspec.Meta(ge=0, le=1e18)]] = {}
    """Classes that tenants may be in, and the head start in fuel that each gives: a job goes before others as if that
    much had been run since it came. Shares stay by weight, and nobody starves."""
    suspended: Annotated[int, msgspec.Meta(ge=0, le=14_000)] = 100
    """Jobs of one worker that wait to be refuelled, at most; each keeps its instance and memory. Others end at once."""
    require_sandbox: bool = False
    """Whether to refuse to start unless every wall stands around the workers that this machine can need."""


class SandboxConfig(_Section, frozen=True):
    """`[sandbox]`: the walls around workers and compile processes."""

    user: str | None = None
    """Name or number of the user that workers become where the daemon is root; None is one of nobody for each."""
    memory: Size | None = None
    """Bytes that one worker may take, where it can have a cgroup; None is its part of three quarters of the machine."""
    cgroup: str | None = None
    """A cgroup (version 2) in which workers may have their own; None is the daemon's, if that is delegated to it."""
    without: tuple[WallName, ...] = ()
    """Walls that are left out: to find out which one is in the way."""


class LimitCeilings(_Section, frozen=True):
    """`[limits.max]`: the most that a job may ask for."""

    fuel: _Fuel = 10**12
    memory: Size = Size(2**30)
    timeout: _Seconds = 3600.0
    output: Size = Size(8 * 2**20)
    files: Size = Size(32 * 2**20)
    input: Size = Size(16 * 2**20)
    """Bytes that a job may bring: arguments, environment, standard input and files together."""
    host_calls: _Count = 1_000_000
    suspend: _Seconds = 3600.0


class LimitsConfig(_Section, frozen=True):
    """`[limits]`: what a job gets that does not ask."""

    fuel: _Fuel = 10**9
    memory: Size = Size(64 * 2**20)
    timeout: _Seconds = 10.0
    output: Size = Size(2**20)
    files: Size = Size(16 * 2**20)
    host_calls: _Count = 10_000
    suspend: _Seconds = 60.0
    """Seconds that a job which is suspended when its fuel is spent waits for more, before it is given up."""
    max: LimitCeilings = LimitCeilings()


class PricesConfig(_Section, frozen=True):
    """`[prices]`: what a guest pays in fuel for what its host does for it."""

    call: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 1_000
    """Fuel for one call of a WASI function."""
    byte: Annotated[int, msgspec.Meta(ge=0, le=10**6)] = 1
    """Fuel for each byte that such a call, or one of a host function, moves: written, read, or copied into memory."""
    host: Annotated[int, msgspec.Meta(ge=0, le=10**15)] = 10_000
    """Fuel for one call of a host function that has no price of its own."""
    reuse: Literal["none", "full"] = "none"
    """What a job pays whose answer another's run gave: nothing, or what that run paid."""


class ReuseConfig(_Section, frozen=True):
    """`[reuse]`: what is kept to answer identical calls with, in memory."""

    entries: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 1_000
    """Answers kept."""
    bytes: Size = Size(16 * 2**20)
    """Bytes that they may take together."""
    age: _Seconds = 300.0
    """Seconds that an answer is given again."""
    waiting: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 10_000
    """Jobs that wait for the run of another; more of them are run by themselves."""


class HostFunctionConfig(_Section, frozen=True):
    """`[host.functions]`: one function, by its import path "package.module:name"; the rest as in `host_function`."""

    path: str
    price: int | None = None
    max_calls: int | None = None
    tenants: tuple[str, ...] = ()
    inline: bool = False
    params: tuple[str, ...] | None = None
    results: tuple[str, ...] | None = None


class HostConfig(_Section, frozen=True):
    """`[host]`: the functions of this program that guests may call, and how many such calls run at once."""

    concurrency: _Count = 1_000
    """Coroutines; more of them wait."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 16
    """Threads for plain functions; more calls of them wait."""
    max_bytes: Size = Size(2**20)
    """Bytes that one call may carry each way."""
    functions: dict[str, str | HostFunctionConfig] = {}
    """Import name such as "env.lookup" → import path, or a `HostFunctionConfig`."""


class StoreConfig(_Section, frozen=True):
    """`[store]`: how long finished jobs can be asked for, and how long is waited for whom."""

    history: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    """Finished jobs kept."""
    history_age: _Seconds = 86_400.0
    """Seconds that a finished job is kept."""
    lease: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 15.0
    """Seconds after which the jobs of a daemon that died run again in another one that shares its store."""
    timeout: Annotated[float, msgspec.Meta(ge=1, le=600)] = 10.0
    """Seconds that something is tried while the store's server is away; then it is refused."""


class ServerConfig(_Section, frozen=True):
    """`[server]`: where the daemon listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8787
    socket: str | None = None
    """A file to listen on instead, for its owner and their group."""
    tls_cert: str | None = None
    """A PEM file with the certificate, and those it is signed with: TLS is spoken, and nothing else."""
    tls_key: str | None = None
    """A PEM file with the certificate's key, unencrypted."""
    requests_per_second: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 10_000.0
    """Requests that one token may send, or without tokens one address."""
    requests_burst: _Count = 10_000
    """How many of them at once, after a pause."""
    max_wait: _Seconds = 60.0
    """The longest that `GET /v1/jobs/{id}?wait=` holds a request, in seconds."""
    max_batch: _Count = 1_000
    """Jobs in one request."""
    max_body: Size = Size(64 * 2**20)
    """Bytes in one request."""
    max_requests: _Count = 4_096
    """Requests that are answered at once, those that wait for a job included."""
    max_client_requests: _Count = 1_024
    """Those of them that one tenant's tokens may have."""
    head_timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 10.0
    """Seconds that a request's line and headers may take; a connection that sends none ends as soon."""
    body_timeout: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 300.0
    """Seconds that a request's body may take."""
    max_streams: _Count = 256
    """Streams of events that are open at once."""
    max_client_streams: _Count = 64
    """Those of them that one tenant's tokens may have open or, without tokens, one address."""
    tokens_required: bool | None = None
    """Whether every request needs a token; None is: as soon as any tenant has one."""


class ModulesConfig(_Section, frozen=True):
    """`[modules]`: where compiled modules are kept, and what compiling one may cost."""

    directory: str | None = None
    """None is beside the store's file, or without one wasmq/ in the user's cache ($XDG_CACHE_HOME, else ~/.cache)."""
    max_size: Size = Size(128 * 2**20)
    """Bytes of one module."""
    max_loaded: _Count = 10_000
    """Modules that one scheduler holds. Where jobs outlive the process, a module that an earlier life of the store or
    another daemon has loaded takes the place of one that is not in use."""
    compile_timeout: _Seconds = 300.0
    compile_memory: Size = Size(4 * 2**30)
    cache_size: Size = Size(8 * 2**30)
    """Bytes of artifacts kept on disk; the ones unused longest go first."""


class LogsConfig(_Section, frozen=True):
    """`[logs]`: what is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto is console when stderr is a terminal, else one JSON object a line."""


class MetricsConfig(_Section, frozen=True):
    """`[metrics]`: what Prometheus sees."""

    max_tenants: _Count = 100
    """Tenants with a label of their own; the others share the label "other"."""


class Tenant(_Section, frozen=True):
    """One tenant's share of the machine, and its account.

    `weight` counts against the other tenants. What is None has no bound. `grant` names host functions that its jobs
    may import, such as "env.lookup".
    """

    weight: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0
    class_: str | None = msgspec.field(default=None, name="class")
    """One of the scheduler's `classes`."""
    max_queued: _Count | None = None
    """Jobs waiting; None is the scheduler's own `max_queued`."""
    max_running: _Count | None = None
    """Jobs running."""
    memory: Size | None = None
    """Bytes that its running jobs may use together: the sum of their caps."""
    fuel_budget: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    """Fuel that it may use in each `fuel_period`; without a period fuel paid for in advance, to which credits add."""
    fuel_period: Annotated[float, msgspec.Meta(ge=0.001, le=366 * 86400)] | None = None
    """Seconds in which the budget is granted again, little by little."""
    fuel_burst: _Fuel | None = None
    """Fuel that the account saves up at most, and that it begins with; None is the budget."""
    fuel_rate: _Fuel | None = None
    """Fuel per second: nothing starts while the tenant has used more than that."""
    on_empty: Literal["hold", "refuse"] = "hold"
    """What becomes of a job that the account cannot pay for now: it waits in the queue, or is refused."""
    grant: tuple[str, ...] = ()
    reuse: Reuse = "never"
    """Whether another job's run may answer the jobs that do not say: "never", "flight" or "result"."""
    tokens: tuple[_Token, ...] = ()
    """The SHA-256 of each token that speaks for the tenant over HTTP, as `wasmq token` prints it."""
    roles: tuple[Role, ...] = ("submit", "observe")
    """What these tokens are good for."""

    @property
    def problem(self) -> str | None:
        """What does not go together in its terms, in one line; None when all does."""
        if self.fuel_period is None:
            return None if self.fuel_burst is None else "fuel_burst is for a budget with a fuel_period; set that too"
        if self.fuel_budget is None:
            return "fuel_period is the period of a budget; set fuel_budget too"
        if self.fuel_budget == 0:
            return "fuel_budget: 0 in each fuel_period is nothing; without a period it can begin so, and be credited"
        return None

    @property
    def terms(self) -> Terms | None:
        """What its account allows; None when it needs none."""
        if self.fuel_budget is self.fuel_rate is self.max_running is self.memory is None:
            return None
        period = self.fuel_period
        return Terms(
            budget=self.fuel_budget,
            period=None if period is None else round(period * 1_000_000),
            burst=self.fuel_burst or self.fuel_budget or 0,
            rate=self.fuel_rate,
            max_running=self.max_running,
            memory=self.memory,
            refuses=self.on_empty == "refuse",
        )


class PeriodicConfig(_Section, frozen=True):
    """`[periodic.NAME]`: a call that is submitted whenever its cron expression fires; the rest as in `schedule`."""

    cron: str
    module: str
    """A file, or the digest of a module that was loaded."""
    timezone: str = "UTC"
    export: str | None = None
    """None is the run of a WASI command."""
    args: tuple[Any, ...] = ()
    argv: tuple[str, ...] = ()
    env: dict[str, str] = {}
    tenant: str = "default"
    priority: int = 0
    limits: Limits | None = None
    grant: tuple[str, ...] = ()
    catch_up: bool = True
    """Whether the last firing that was missed while no daemon ran is made up for."""


class Config(_Section, frozen=True):
    """Everything that can be set."""

    scheduler: SchedulerConfig = SchedulerConfig()
    sandbox: SandboxConfig = SandboxConfig()
    limits: LimitsConfig = LimitsConfig()
    prices: PricesConfig = PricesConfig()
    reuse: ReuseConfig = ReuseConfig()
    host: HostConfig = HostConfig()
    store: StoreConfig = StoreConfig()
    server: ServerConfig = ServerConfig()
    modules: ModulesConfig = ModulesConfig()
    tenants: dict[str, Tenant] = {}
    periodic: dict[str, PeriodicConfig] = {}
    logs: LogsConfig = LogsConfig()
    metrics: MetricsConfig = MetricsConfig()

    @property
    def tokens_required(self) -> bool:
        """Whether every request over HTTP needs a token."""
        wanted = self.server.tokens_required
        return any(tenant.tokens for tenant in self.tenants.values()) if wanted is None else wanted

    def __post_init__(self) -> None:
        tokens = [token for tenant in self.tenants.values() for token in tenant.tokens]
        if len(set(tokens)) < len(tokens):
            raise ValueError("tenants: a token is there twice; it can stand for one tenant only")
        if self.server.tokens_required and not tokens:
            raise ValueError("server.tokens_required is set, but no tenant has a token; see wasmq token")
        for name, tenant in self.tenants.items():
            if tenant.problem is not None:
                raise ValueError(f"tenants.{name}: {tenant.problem}")
            if tenant.class_ is not None and tenant.class_ not in self.scheduler.classes:
                raise ValueError(f"tenants.{name}.class: {tenant.class_!r} is none of scheduler.classes")
        for section, limits in (("limits", self.limits), ("limits.max", self.limits.max)):
            for name in ("memory", "output", "files"):
                if getattr(limits, name) < 1:
                    raise ValueError(f"{section}.{name} must be at least one byte")
        for name, periodic in self.periodic.items():
            try:
                Cron(periodic.cron, periodic.timezone)
            except ValueError as error:
                raise ValueError(f"periodic.{name}: {error}") from None
        if self.limits.max.memory > MAX_MEMORY:
            raise ValueError("limits.max.memory cannot be above 4GiB, which is what the engine reserves for a memory")
        ceilings = self.limits.max
        for names, size in (("output and files", ceilings.output + ceilings.files), ("input", ceilings.input)):
            if size > MAX_CARRIED:
                raise ValueError(
                    f"limits.max: {names} cannot be above {MAX_CARRIED >> 20}MiB, which is what one job can carry"
                )
        if not 1 <= self.host.max_bytes <= MAX_HOST_BYTES:
            raise ValueError(f"host.max_bytes must be from one byte to {MAX_HOST_BYTES >> 20}MiB")
        for name in ("fuel", "memory", "timeout", "output", "files", "host_calls", "suspend"):
            if getattr(self.limits, name) > getattr(self.limits.max, name):
                raise ValueError(f"limits.{name} is above limits.max.{name}")


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Return the configuration from the file at `path` (if any), then `environ`, then `overrides`.

    `overrides` maps dotted keys to values ({"scheduler.workers": 2}); a value of None is ignored. Raises `ConfigError`
    naming the source and the key when the file cannot be read, a key is unknown or a value does not fit.
    """
    tree = _read(Path(path)) if path is not None else {}
    source = str(path) if path is not None else "configuration"
    config = _convert(tree, source)
    variables = _environment(os.environ if environ is None else environ)
    for name, dotted, value in variables:
        config = _convert(_merged(tree, dotted, value), name)
    for dotted, value in (overrides or {}).items():
        if value is not None:
            config = _convert(_merged(tree, dotted, value), "argument")
    return config


def configured(config: Config | str | os.PathLike[str] | None, overrides: Mapping[str, Any]) -> Config:
    """Return a configuration, given as it is or as a file's path, with dotted keys set; a value of None is ignored.

    Raises `ConfigError` as `load_config` does.
    """
    if not isinstance(config, Config):
        return load_config(config, overrides=overrides)
    tree = msgspec.to_builtins(config, builtin_types=(int,), enc_hook=int)
    for dotted, value in overrides.items():
        if value is not None:
            config = _convert(_merged(tree, dotted, value), "argument")
    return config


def checked_tenant(name: str, tenant: Tenant) -> Tenant:
    """Return a tenant made by a program as a file's would be. Raises `ConfigError` for an impossible value."""
    tree = msgspec.to_builtins(tenant, builtin_types=(int,), enc_hook=int)
    checked = _converted(tree, f"tenant {name!r}", Tenant)
    if checked.problem is not None:
        raise ConfigError(f"tenant {name!r}: {checked.problem}")
    return checked


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise _wrong(str(path), f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(str(path), f"not TOML: {error}") from error
    except RecursionError:
        raise _wrong(str(path), "not TOML that can be read: nested too deep") from None


def _environment(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (variable, dotted key, text) for each variable that sets a key: WASMQ_SCHEDULER__WORKERS=4."""
    found = []
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in _OTHER_VARIABLES or name.startswith(_TEST_PREFIX):
            continue
        dotted = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        if "." not in dotted:
            raise _wrong(name, "names no key; write WASMQ_SECTION__KEY, such as WASMQ_SCHEDULER__WORKERS")
        found.append((name, dotted, environ[name]))
    return found


def _merged(tree: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    *parents, leaf = dotted.split(".")
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise _wrong(dotted, f"{parent} is not a section")
        node = child
    node[leaf] = value
    return tree


_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<key>[^`]*)`)?$", re.DOTALL)


def _convert(tree: dict[str, Any], source: str) -> Config:
    return _converted(tree, source, Config)


def _converted(tree: dict[str, Any], source: str, wanted: type[_T]) -> _T:
    try:
        return msgspec.convert(tree, wanted, strict=False, dec_hook=_dec_hook)
    except UnicodeEncodeError:
        raise _wrong(source, "a text in it is not UTF-8") from None
    except msgspec.ValidationError as error:
        match = _PATH.match(str(error))
        what, key = (match["what"], match["key"]) if match else (str(error), None)
        unknown = re.search(r"unknown field `([^`]*)`", what)
        if unknown:
            name = f"{key}.{unknown[1]}" if key else unknown[1]
            raise _wrong(source, f"unknown key {name!r}") from None
        raise _wrong(source, f"{key + ': ' if key else ''}{what}") from None


def _wrong(source: str, what: str) -> ConfigError:
    """Return the error for what is wrong with a source, in one line whatever it has in it."""
    return ConfigError(printable(f"{source}: {what}", _MAX_LINE))


def _dec_hook(wanted: type, value: Any) -> Any:
    if wanted is not Size:
        raise NotImplementedError(f"no conversion to {wanted}")
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a size in bytes")
    try:
        size = parse_size(value)
    except InvalidLimit as error:
        raise ValueError(str(error)) from None
    if not 0 < size < 2**63:
        raise ValueError(f"{value!r} is not between one byte and 8 EiB")
    return Size(size)
