"""What a command's exit status means: the shell's own numbers, a spent limit as 128 plus its signal."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, assert_never

from wasmq.errors import (
    ConfigError,
    InvalidArguments,
    InvalidModule,
    JobError,
    Refused,
    ResourceUnavailable,
    StoreUnavailable,
    UnknownExport,
    UnknownJob,
    Unreachable,
    UnsatisfiedImport,
    WasmqError,
)

if TYPE_CHECKING:
    from wasmq.job import Outcome

__all__ = ["Exit", "Unavailable", "Unreadable", "UsageError", "exit_for_error", "exit_for_outcome"]


class Exit(IntEnum):
    """Every status that wasmq itself gives; a WASI guest's own exit code passes through beside them."""

    SUCCEEDED = 0
    DIFFERS = 1  # as diff(1)
    USAGE = 2
    INVALID_MODULE = 65  # EX_DATAERR
    NO_INPUT = 66  # EX_NOINPUT
    UNAVAILABLE = 69  # EX_UNAVAILABLE
    INTERNAL = 70  # EX_SOFTWARE
    UNFINISHED = 75  # EX_TEMPFAIL
    REFUSED = 77  # EX_NOPERM
    TIMED_OUT = 124  # as timeout(1)
    CANCELLED = 130  # 128 + SIGINT
    TRAPPED = 134  # 128 + SIGABRT
    OUT_OF_MEMORY = 137  # 128 + SIGKILL
    BROKEN_PIPE = 141  # 128 + SIGPIPE
    OUT_OF_FUEL = 152  # 128 + SIGXCPU


class UsageError(WasmqError):
    """Raised when a command is called in a way that it does not understand."""


class Unreadable(WasmqError):
    """Raised when a file named on the command line is not there or cannot be read."""


class Unavailable(WasmqError):
    """Raised when a service that a command needs, or offers, cannot be had: a package, a daemon, an address."""


def exit_for_outcome(outcome: Outcome) -> int:
    """Return the exit status for how a job ended."""
    match outcome.status:
        case "succeeded":
            return Exit.SUCCEEDED
        case "trapped":
            return Exit.TRAPPED
        case "out_of_fuel":
            return Exit.OUT_OF_FUEL
        case "out_of_memory":
            return Exit.OUT_OF_MEMORY
        case "timed_out":
            return Exit.TIMED_OUT
        case "cancelled":
            return Exit.CANCELLED
        case "exited":
            # A job that ended well without the files that were wanted; a status of the shell's has eight bits.
            return min(outcome.exit_code or Exit.NO_INPUT, 255)
        case "lost":
            return Exit.INTERNAL
    assert_never(outcome.status)


def exit_for_error(error: BaseException) -> int:
    """Return the exit status for the exception that ended a command; anything unexpected is `Exit.INTERNAL`."""
    match error:
        case JobError():
            return exit_for_outcome(error.outcome)
        case ResourceUnavailable() | Unavailable() | Unreachable() | StoreUnavailable():
            return Exit.UNAVAILABLE
        case UsageError() | InvalidArguments() | UnknownExport() | UnknownJob() | ConfigError():
            return Exit.USAGE
        case InvalidModule() | UnsatisfiedImport():
            return Exit.INVALID_MODULE
        case Unreadable():
            return Exit.NO_INPUT
        case Refused():
            return Exit.REFUSED
        case KeyboardInterrupt():
            return Exit.CANCELLED
        case _:
            return Exit.INTERNAL
