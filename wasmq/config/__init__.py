"""The configuration: one TOML file, then `WASMQ_*` environment variables, then what the caller says.

Every key has a finite default; an unknown key or an impossible value is a `ConfigError` that names it.
"""

from wasmq.config.kinds import EngineName, Role, Size, WallName
from wasmq.config.reading import checked_tenant, configured, load_config
from wasmq.config.sections import (
    HostConfig,
    HostFunctionConfig,
    LimitCeilings,
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
from wasmq.config.whole import Config

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
    "SandboxConfig",
    "SchedulerConfig",
    "ServerConfig",
    "Size",
    "StoreConfig",
    "Tenant",
    "WallName",
    "checked_tenant",
    "configured",
    "load_config",
]
