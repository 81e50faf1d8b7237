"""One hierarchy of errors, each named for the situation that raises it.

Everything derives from `WasmqError`. A `Refused` comes from `load` or `submit` before anything is queued; a `JobError`
comes from `run` and carries the outcome of a job that was accepted, ran and did not succeed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from wasmq.job import Outcome, Status

__all__ = [
    "BudgetExhausted",
    "Cancelled",
    "ConfigError",
    "CursorGone",
    "DeadlineUnmeetable",
    "Exited",
    "Forbidden",
    "InvalidArguments",
    "InvalidLimit",
    "InvalidModule",
    "JobError",
    "KeyConflict",
    "LimitTooHigh",
    "Lost",
    "NoAccount",
    "NotDeterministic",
    "NotLost",
    "NotRecorded",
    "NotRefuellable",
    "OutOfFuel",
    "OutOfMemory",
    "QueueFull",
    "Refused",
    "ResourceUnavailable",
    "SandboxUnavailable",
    "SchedulerClosed",
    "StoreUnavailable",
    "TimedOut",
    "Trapped",
    "Unauthenticated",
    "UnknownExport",
    "UnknownJob",
    "UnknownModule",
    "Unreachable",
    "UnsatisfiedImport",
    "WasmqError",
    "WorkerUnavailable",
    "error_for",
    "no_such_job",
]


class WasmqError(Exception):
    """The root of every error that wasmq raises on purpose."""


class ConfigError(WasmqError):
    """Raised when a configuration file, variable or argument has an unknown key or an impossible value."""


class ResourceUnavailable(ConfigError):
    """Raised when what the configuration names cannot be had now: a port, a file or a server.

    Another process has it, or it does not answer: nothing is wrong with the setting, and it may work later.
    """


class SandboxUnavailable(ConfigError):
    """Raised when `require_sandbox` is set and this machine does not give every wall; names those that are missing."""


class WorkerUnavailable(WasmqError):
    """Raised when a worker process cannot be started at all, or keeps dying before it is ready."""


class Refused(WasmqError):
    """Raised before anything is queued; the message names what was refused and why.

    `reason` is the class's name in the form that metrics use: "queue_full".
    """

    reason: ClassVar[str] = "refused"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.reason = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


class InvalidModule(Refused):
    """Raised when bytes or text are not a module that this engine accepts, or take too much to compile."""


class UnknownModule(Refused):
    """Raised when a digest names no module that was loaded here."""


class UnknownExport(Refused):
    """Raised when a call names an export that the module does not have, or that is not a function."""


class InvalidArguments(Refused):
    """Raised when the arguments do not fit the export's parameters; names the position, the type wanted, what came."""


class InvalidLimit(InvalidArguments):
    """Raised when a limit is zero, negative, not a number, or a size that cannot be read."""


class LimitTooHigh(Refused):
    """Raised when a limit asks for more than the configured maximum."""


class UnsatisfiedImport(Refused):
    """Raised when a module imports something that nobody offers it."""


class QueueFull(Refused):
    """Raised when the queue has no room and the caller asked not to wait."""


class BudgetExhausted(Refused):
    """Raised when a tenant's fuel account cannot pay for the job.

    `after` is in how many seconds it can; None when time alone does not help, or it is not known.
    """

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class NoAccount(Refused):
    """Raised when a tenant has no account, or none that could be credited: its section sets none of the terms."""


class DeadlineUnmeetable(Refused):
    """Raised when a job would not be done by its deadline, by an estimate from the queue and from its history."""


class KeyConflict(Refused):
    """Raised when an idempotency key is used again for a different call."""


class SchedulerClosed(Refused):
    """Raised when a job is submitted to a scheduler that has not started, is stopping, or has stopped."""


class StoreUnavailable(Refused):
    """Raised when the store cannot do something now: its disk is full, its server has been away for `[store] timeout`.

    What was accepted is safe there. Whether the job of a `submit` that raised it was stored on a server is not known:
    with a key, submitting it again is safe.
    """


class NotLost(Refused):
    """Raised when a job is to be queued again that was not lost: it has its answer, or will have it."""


class NotRefuellable(Refused):
    """Raised when a job is to be refuelled that has finished, does not run yet, or ends when its fuel is spent."""


class NotRecorded(Refused):
    """Raised when the host calls are asked for of a job that has none which were kept; says why."""


class NotDeterministic(Refused):
    """Raised when a job is to be replayed that need not end the same way again, or that has not ended; says why."""


class Unauthenticated(Refused):
    """Raised when a daemon wants a token and got none, or one that it does not know."""


class Forbidden(Refused):
    """Raised when a token is good, but not for this: another tenant's jobs, or a role that it does not have."""


class Unreachable(WasmqError):
    """Raised when no daemon answers at a URL, or none that speaks this language, for as long as a client tries."""


class CursorGone(WasmqError):
    """Raised when a page of jobs is to begin behind one that has left the history."""


class UnknownJob(WasmqError):
    """Raised when an id names no job that is queued, running, or still in the history."""


def no_such_job(job_id: str) -> UnknownJob:
    """Return the error for an id that names no job, or none that the asking one may see: the two look alike."""
    return UnknownJob(f"no job {job_id!r}: it never was, or its history has been pruned")


class JobError(WasmqError):
    """Raised by `run` when a job did not succeed; `outcome` has the whole story."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error or outcome.status)
        self.outcome = outcome


class Trapped(JobError):
    """Raised when the guest trapped: unreachable code, a division by zero, an access out of bounds, deep recursion."""


class OutOfFuel(JobError):
    """Raised when the guest spent all the fuel it was given."""


class OutOfMemory(JobError):
    """Raised when the guest needs more memory than its cap, at its start or when it died of a refused growth."""


class TimedOut(JobError):
    """Raised when the guest ran for longer than its timeout."""


class Exited(JobError):
    """Raised when a WASI guest exited with a code other than 0."""


class Cancelled(JobError):
    """Raised when the job was cancelled before it finished."""


class Lost(JobError):
    """Raised when every attempt of a job ended with the death of its worker."""


_BY_STATUS: dict[Status, type[JobError]] = {
    "trapped": Trapped,
    "out_of_fuel": OutOfFuel,
    "out_of_memory": OutOfMemory,
    "timed_out": TimedOut,
    "exited": Exited,
    "cancelled": Cancelled,
    "lost": Lost,
}


def error_for(outcome: Outcome) -> JobError:
    """Return the `JobError` that belongs to an outcome whose status is not `succeeded`."""
    return _BY_STATUS[outcome.status](outcome)
