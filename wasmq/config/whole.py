"""The whole configuration, and what must hold between its keys."""

from __future__ import annotations

from typing import Final

import msgspec

from wasmq.config.kinds import Section
from wasmq.config.sections import (
    HostConfig,
    LimitsConfig,
    LogsConfig,
    MetricsConfig,
    ModulesConfig,
    PeriodicConfig,
    PricesConfig,
    ReuseConfig,
    SandboxConfig,
    SchedulerConfig,
    ServerConfig,
    StoreConfig,
)
from wasmq.config.tenant import Tenant
from wasmq.cron import Cron

_MAX_MEMORY: Final = 4 * 2**30  # what the engine reserves for one linear memory, and so the most that one job can have
_MAX_HOST_BYTES: Final = 16 * 2**20
_MAX_CARRIED: Final = 60 * 2**20  # bytes of files and output that one frame between the processes has room for


class Config(Section, frozen=True):
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
    tenants: dict[str, Tenant] = msgspec.field(default_factory=dict)
    periodic: dict[str, PeriodicConfig] = msgspec.field(default_factory=dict)
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
            for name in ("memory", "output", "files", "recording"):
                if getattr(limits, name) < 1:
                    raise ValueError(f"{section}.{name} must be at least one byte")
        for name, periodic in self.periodic.items():
            try:
                Cron(periodic.cron, periodic.timezone)
            except ValueError as error:
                raise ValueError(f"periodic.{name}: {error}") from None
        if self.limits.max.memory > _MAX_MEMORY:
            raise ValueError("limits.max.memory cannot be above 4GiB, which is what the engine reserves for a memory")
        ceilings = self.limits.max
        for names, size in (
            ("output and files", ceilings.output + ceilings.files),
            ("input", ceilings.input),
            ("recording", ceilings.recording),
        ):
            if size > _MAX_CARRIED:
                raise ValueError(
                    f"limits.max: {names} cannot be above {_MAX_CARRIED >> 20}MiB, which is what one job can carry"
                )
        if not 1 <= self.host.max_bytes <= _MAX_HOST_BYTES:
            raise ValueError(f"host.max_bytes must be from one byte to {_MAX_HOST_BYTES >> 20}MiB")
        for name in ("fuel", "memory", "timeout", "output", "files", "host_calls", "suspend", "recording"):
            if getattr(self.limits, name) > getattr(self.limits.max, name):
                raise ValueError(f"limits.{name} is above limits.max.{name}")
