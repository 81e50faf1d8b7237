"""One hierarchy of errors: a status, a reason and a class belong together."""

import re
from typing import get_args

import pytest

import wasmq
from wasmq import errors
from wasmq.errors import JobError, Refused, WasmqError, error_for
from wasmq.job import Outcome, Status

CLASSES = [getattr(errors, name) for name in errors.__all__ if name[0].isupper()]
FAILURES = [status for status in get_args(Status) if status != "succeeded"]


@pytest.mark.parametrize("status", FAILURES)
def test_every_failure_has_its_own_job_error(status):
    """The class is named for the status and carries the outcome; its text is the outcome's one line."""
    outcome = Outcome(status=status, error="one line")
    error = error_for(outcome)
    assert type(error).__mro__[1] is JobError
    assert type(error).__name__.lower() == status.replace("_", "")
    assert error.outcome is outcome
    assert str(error) == "one line"


def test_no_two_statuses_share_an_error():
    """Who catches one situation does not catch another."""
    assert len({type(error_for(Outcome(status=status))) for status in FAILURES}) == len(FAILURES)


def test_success_is_no_error():
    """A succeeded outcome has no exception that could be raised for it."""
    with pytest.raises(KeyError):
        error_for(Outcome(status="succeeded"))


def test_an_outcome_without_a_line_shows_its_status():
    """An error never prints as nothing."""
    assert str(error_for(Outcome(status="lost"))) == "lost"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_a_wasmq_error_and_public(cls):
    """One except clause catches all of them, and each can be named from the package itself."""
    assert issubclass(cls, WasmqError)
    assert getattr(wasmq, cls.__name__) is cls
    assert cls.__doc__


def test_a_refusal_is_no_job_error():
    """What was refused never became a job, so no error is both."""
    assert not [cls for cls in CLASSES if issubclass(cls, Refused) and issubclass(cls, JobError)]


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, Refused)], ids=lambda cls: cls.__name__)
def test_a_refusal_has_its_reason(cls):
    """The reason is the class's own name in snake case: what metrics count it by."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", cls.reason)
    assert cls.reason.replace("_", "") == cls.__name__.lower()


def test_reasons_in_words():
    """The spelling that dashboards and HTTP problems rely on."""
    assert errors.QueueFull.reason == "queue_full"
    assert errors.LimitTooHigh.reason == "limit_too_high"
    assert errors.InvalidModule.reason == "invalid_module"


def test_an_invalid_limit_is_an_invalid_argument():
    """Who catches InvalidArguments around a submit has the limits covered too."""
    assert issubclass(errors.InvalidLimit, errors.InvalidArguments)
