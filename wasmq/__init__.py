"""An asyncio job scheduler for WebAssembly you do not trust."""

from wasmq.config import Config, LimitsConfig, Tenant, load_config
from wasmq.errors import (
    BudgetExhausted,
    Cancelled,
    ConfigError,
    Exited,
    InvalidArguments,
    InvalidLimit,
    InvalidModule,
    JobError,
    KeyConflict,
    LimitTooHigh,
    Lost,
    OutOfFuel,
    OutOfMemory,
    QueueFull,
    Refused,
    SchedulerClosed,
    TimedOut,
    Trapped,
    UnknownExport,
    UnknownJob,
    UnknownModule,
    UnsatisfiedImport,
    WasmqError,
    WorkerUnavailable,
)
from wasmq.handles import JobHandle
from wasmq.job import Limits, Outcome, Trap
from wasmq.modules import Module
from wasmq.scheduler import Scheduler
from wasmq.signatures import HostCall, f32, f64, i32, i64
from wasmq.store import JobRecord
from wasmq.submission import Request
from wasmq.version import __version__
from wasmq.wit_values import Case, Err, Ok, Some

__all__ = [
    "BudgetExhausted",
    "Cancelled",
    "Case",
    "Config",
    "ConfigError",
    "Err",
    "Exited",
    "HostCall",
    "InvalidArguments",
    "InvalidLimit",
    "InvalidModule",
    "JobError",
    "JobHandle",
    "JobRecord",
    "KeyConflict",
    "LimitTooHigh",
    "Limits",
    "LimitsConfig",
    "Lost",
    "Module",
    "Ok",
    "OutOfFuel",
    "OutOfMemory",
    "Outcome",
    "QueueFull",
    "Refused",
    "Request",
    "Scheduler",
    "SchedulerClosed",
    "Some",
    "Tenant",
    "TimedOut",
    "Trap",
    "Trapped",
    "UnknownExport",
    "UnknownJob",
    "UnknownModule",
    "UnsatisfiedImport",
    "WasmqError",
    "WorkerUnavailable",
    "__version__",
    "f32",
    "f64",
    "i32",
    "i64",
    "load_config",
]
