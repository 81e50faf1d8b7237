"""The contract between wasmq and other people's shell scripts."""

from __future__ import annotations

from typing import get_args

import pytest

from wasmq import errors
from wasmq.cli.exits import Unavailable, Unreadable, UsageError, exit_for_error, exit_for_outcome
from wasmq.job import Outcome, Status

BY_STATUS = {
    "succeeded": 0,
    "trapped": 134,
    "out_of_fuel": 152,
    "out_of_memory": 137,
    "timed_out": 124,
    "exited": 66,  # without an exit code of its own it ended well, but a file that was wanted is missing
    "cancelled": 130,
    "lost": 70,
}
BY_ERROR = {
    UsageError: 2,
    errors.ConfigError: 2,
    errors.ResourceUnavailable: 69,
    errors.SandboxUnavailable: 2,
    errors.InvalidArguments: 2,
    errors.InvalidLimit: 2,
    errors.UnknownExport: 2,
    errors.UnknownJob: 2,
    errors.InvalidModule: 65,
    errors.UnsatisfiedImport: 65,
    Unreadable: 66,
    Unavailable: 69,
    errors.StoreUnavailable: 69,
    errors.WorkerUnavailable: 70,
    errors.WasmqError: 70,
    errors.Refused: 77,
    errors.LimitTooHigh: 77,
    errors.QueueFull: 77,
    errors.BudgetExhausted: 77,
    errors.DeadlineUnmeetable: 77,
    errors.KeyConflict: 77,
    errors.SchedulerClosed: 77,
    errors.UnknownModule: 77,
    errors.Unreachable: 69,
    errors.Unauthenticated: 77,
    errors.Forbidden: 77,
    errors.NotDeterministic: 77,
    errors.NotRecorded: 77,
    errors.NotLost: 77,
    errors.NoAccount: 77,
    errors.NotRefuellable: 77,
    errors.CursorGone: 70,
}


@pytest.mark.parametrize("status", get_args(Status))
def test_each_way_a_job_can_end_has_its_exit_status(status):
    """The status of a job decides the exit status, and the error that `run` raises for it gives the same."""
    outcome = Outcome(status=status)

    assert exit_for_outcome(outcome) == BY_STATUS[status]
    if status != "succeeded":
        assert exit_for_error(errors.error_for(outcome)) == BY_STATUS[status]


def test_a_guests_own_exit_code_passes_through():
    """A guest that exited gives the command its exit code."""
    assert exit_for_outcome(Outcome(status="exited", exit_code=3)) == 3


@pytest.mark.parametrize("error", BY_ERROR)
def test_each_error_has_its_exit_status(error):
    """The kind of an error decides the exit status."""
    assert exit_for_error(error("why")) == BY_ERROR[error]


def test_no_error_was_forgotten():
    """Every public error that is not a job's own is in the table above: a new one has to be given an exit status."""
    public = {getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)}

    assert {error for error in public if not issubclass(error, errors.JobError)} <= set(BY_ERROR)


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (ValueError("a bug"), 70), (OSError(), 70)])
def test_other_exceptions(error, status):
    """Ctrl-C is 130; what nobody foresaw is an internal error."""
    assert exit_for_error(error) == status
