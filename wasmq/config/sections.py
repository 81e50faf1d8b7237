"""The sections of the configuration, each key with its default; the tenants' are in `wasmq.config.tenant`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from wasmq.config.kinds import Count, EngineName, Fuel, Seconds, Section, Size, WallName
from wasmq.job import Limits, OnExhausted


class SchedulerConfig(Section, frozen=True):
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
    max_queued: Count = 100_000
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
    stuck_after: Seconds = 30.0
    """Seconds of silence after which a worker is killed and replaced."""
    niceness: Annotated[int, msgspec.Meta(ge=0, le=19)] = 10
    """How far workers stand back where others want the same core: at 19 as far as can be, at 0 not at all."""
    classes: dict[str, Annotated[float, msgspec.Meta(ge=0, le=1e18)]] = msgspec.field(default_factory=dict)
    """Classes that tenants may be in, and the head start in fuel that each gives: a job goes before others as if that
    much had been run since it came. Shares stay by weight, and nobody starves."""
    suspended: Annotated[int, msgspec.Meta(ge=0, le=14_000)] = 100
    """Jobs of one worker that wait to be refuelled, at most; each keeps its instance and memory. Others end at once."""
    require_sandbox: bool = False
    """Whether to refuse to start unless every wall stands around the workers that this machine can need."""


class SandboxConfig(Section, frozen=True):
    """`[sandbox]`: the walls around workers and compile processes."""

    user: str | None = None
    """Name or number of the user that workers become where the daemon is root; None is one of nobody for each."""
    memory: Size | None = None
    """Bytes that one worker may take, where it can have a cgroup; None is its part of three quarters of the machine."""
    cgroup: str | None = None
    """A cgroup (version 2) in which workers may have their own; None is the daemon's, if that is delegated to it."""
    without: tuple[WallName, ...] = ()
    """Walls that are left out: to find out which one is in the way."""


class LimitCeilings(Section, frozen=True):
    """`[limits.max]`: the most that a job may ask for."""

    fuel: Fuel = 10**12
    memory: Size = Size(2**30)
    timeout: Seconds = 3600.0
    output: Size = Size(8 * 2**20)
    files: Size = Size(32 * 2**20)
    input: Size = Size(16 * 2**20)
    """Bytes that a job may bring: arguments, environment, standard input and files together."""
    host_calls: Count = 1_000_000
    suspend: Seconds = 3600.0
    recording: Size = Size(8 * 2**20)


class LimitsConfig(Section, frozen=True):
    """`[limits]`: what a job gets that does not ask."""

    fuel: Fuel = 10**9
    memory: Size = Size(64 * 2**20)
    timeout: Seconds = 10.0
    output: Size = Size(2**20)
    files: Size = Size(16 * 2**20)
    host_calls: Count = 10_000
    suspend: Seconds = 60.0
    """Seconds that a job which is suspended when its fuel is spent waits for more, before it is given up."""
    recording: Size = Size(2**20)
    """Bytes that the recording of a job's host calls may have."""
    max: LimitCeilings = LimitCeilings()


class PricesConfig(Section, frozen=True):
    """`[prices]`: what a guest pays in fuel for what its host does for it."""

    call: Annotated[int, msgspec.Meta(ge=0, le=10**9)] = 1_000
    """Fuel for one call of a WASI function."""
    byte: Annotated[int, msgspec.Meta(ge=0, le=10**6)] = 1
    """Fuel for each byte that such a call, or one of a host function, moves: written, read, or copied into memory."""
    host: Annotated[int, msgspec.Meta(ge=0, le=10**15)] = 10_000
    """Fuel for one call of a host function that has no price of its own."""
    reuse: Literal["none", "full"] = "none"
    """What a job pays whose answer another's run gave: nothing, or what that run paid."""


class ReuseConfig(Section, frozen=True):
    """`[reuse]`: what is kept to answer identical calls with, in memory."""

    entries: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 1_000
    """Answers kept."""
    bytes: Size = Size(16 * 2**20)
    """Bytes that they may take together."""
    age: Seconds = 300.0
    """Seconds that an answer is given again."""
    waiting: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 10_000
    """Jobs that wait for the run of another; more of them are run by themselves."""


class HostFunctionConfig(Section, frozen=True):
    """`[host.functions]`: one function, by its import path "package.module:name"; the rest as in `host_function`."""

    path: str
    price: int | None = None
    max_calls: int | None = None
    tenants: tuple[str, ...] = ()
    inline: bool = False
    params: tuple[str, ...] | None = None
    results: tuple[str, ...] | None = None


class HostConfig(Section, frozen=True):
    """`[host]`: the functions of this program that guests may call, and how many such calls run at once."""

    concurrency: Count = 1_000
    """Coroutines; more of them wait."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 16
    """Threads for plain functions; more calls of them wait."""
    max_bytes: Size = Size(2**20)
    """Bytes that one call may carry each way."""
    recordings: Size = Size(64 * 2**20)
    """Bytes that the recordings of all jobs that run may take together; of a job beyond that nothing is kept."""
    functions: dict[str, str | HostFunctionConfig] = msgspec.field(default_factory=dict)
    """Import name such as "env.lookup" → import path, or a `HostFunctionConfig`."""


class StoreConfig(Section, frozen=True):
    """`[store]`: how long finished jobs can be asked for, and how long is waited for whom."""

    history: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    """Finished jobs kept."""
    history_age: Seconds = 86_400.0
    """Seconds that a finished job is kept."""
    lease: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 15.0
    """Seconds after which the jobs of a daemon that died run again in another one that shares its store."""
    timeout: Annotated[float, msgspec.Meta(ge=1, le=600)] = 10.0
    """Seconds that something is tried while the store's server is away; then it is refused."""


class ServerConfig(Section, frozen=True):
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
    requests_burst: Count = 10_000
    """How many of them at once, after a pause."""
    max_wait: Seconds = 60.0
    """The longest that `GET /v1/jobs/{id}?wait=` holds a request, in seconds."""
    max_batch: Count = 1_000
    """Jobs in one request."""
    max_body: Size = Size(64 * 2**20)
    """Bytes in one request."""
    max_connections: Count = 8_192
    """Connections that are open at once, or as many as the process' limit of open files leaves; others get 503."""
    max_requests: Count = 4_096
    """Requests that are answered at once, those that wait for a job included."""
    max_client_requests: Count = 1_024
    """Those of them that one tenant's tokens may have."""
    head_timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 10.0
    """Seconds that a request's line and headers may take; a connection that sends none ends as soon."""
    body_timeout: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 300.0
    """Seconds that a request's body may take."""
    max_streams: Count = 256
    """Streams of events that are open at once."""
    max_client_streams: Count = 64
    """Those of them that one tenant's tokens may have open or, without tokens, one address."""
    tokens_required: bool | None = None
    """Whether every request needs a token; None is: as soon as any tenant has one."""


class ModulesConfig(Section, frozen=True):
    """`[modules]`: where compiled modules are kept, and what compiling one may cost."""

    directory: str | None = None
    """None is beside the store's file, or without one wasmq/ in the user's cache ($XDG_CACHE_HOME, else ~/.cache)."""
    max_size: Size = Size(128 * 2**20)
    """Bytes of one module."""
    max_loaded: Count = 10_000
    """Modules that one scheduler holds. Where jobs outlive the process, one that comes takes the place of the one that
    is unused longest and not in use, which comes back when it is wanted; elsewhere no more are taken."""
    compile_timeout: Seconds = 300.0
    compile_memory: Size = Size(4 * 2**30)
    cache_size: Size = Size(8 * 2**30)
    """Bytes of artifacts kept on disk; the ones unused longest go first."""


class LogsConfig(Section, frozen=True):
    """`[logs]`: what is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto is console when stderr is a terminal, else one JSON object a line."""


class MetricsConfig(Section, frozen=True):
    """`[metrics]`: what Prometheus sees."""

    max_tenants: Count = 100
    """Tenants with a label of their own; the others share the label "other"."""


class PeriodicConfig(Section, frozen=True):
    """`[periodic.NAME]`: a call that is submitted whenever its cron expression fires; the rest as in `schedule`."""

    cron: str
    module: str
    """A file, or the digest of a module that was loaded."""
    timezone: str = "UTC"
    export: str | None = None
    """None is the run of a WASI command."""
    args: tuple[Any, ...] = ()
    argv: tuple[str, ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict)
    tenant: str = "default"
    priority: int = 0
    limits: Limits | None = None
    grant: tuple[str, ...] = ()
    on_exhausted: OnExhausted = "stop"
    record: bool | None = None
    catch_up: bool = True
    """Whether the last firing that was missed while no daemon ran is made up for."""
