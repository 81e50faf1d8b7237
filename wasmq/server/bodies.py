"""What travels in the responses about jobs. Pure.

Values are as `wasmq.server.json_values` says; stdin, stdout, stderr and the content of files are base64.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from wasmq.job import Outcome, State, Status, Trap
from wasmq.receipts import Receipt
from wasmq.server.json_values import VALUE_FORM, JsonValue, outcome_values

if TYPE_CHECKING:
    from wasmq.store import JobRecord

__all__ = ["FuelBody", "JobBody", "JobPage", "OutcomeBody", "job_body"]

_JsonResult: TypeAlias = Annotated[
    Any,
    msgspec.Meta(
        description="null without a result, the value itself when there is one, an array when there are several.",
        extra_json_schema={
            "anyOf": [
                {"type": "null"},
                {"type": "integer"},
                {"type": "number"},
                {"type": "string"},
                {"type": "boolean"},
                {"type": "array"},
                {"type": "object"},
            ]
        },
    ),
]


class FuelBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a job may spend in all."""

    id: str
    fuel: int


class OutcomeBody(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended, and its exact bill: fuel, bytes and seconds."""

    status: Status
    value: _JsonResult
    values: Annotated[tuple[JsonValue, ...], msgspec.Meta(description=VALUE_FORM)]
    fuel_used: int
    memory_peak: int
    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    files: dict[str, bytes]
    exit_code: int | None
    error: str | None
    trap: Trap | None
    queued: float
    ran: float
    attempts: int
    worker: str | None
    engine: str
    engine_version: str
    reused: Annotated[str | None, msgspec.Meta(description="The job whose run answered this one.")]
    fuel_saved: Annotated[int, msgspec.Meta(description="What that run had used and this job was not charged.")]
    receipt: Annotated[
        Receipt | None, msgspec.Meta(description="Of a job that comes by itself; null in an array or a page.")
    ]


class JobBody(msgspec.Struct, frozen=True, kw_only=True):
    """One job; `outcome` is null until it has finished. What follows that is said of one that runs, where known."""

    id: str
    state: State
    module: str
    export: str
    tenant: str
    attempts: int
    submitted_at: datetime.datetime
    deadline: datetime.datetime | None
    outcome: OutcomeBody | None
    at_risk: Annotated[
        bool | msgspec.UnsetType,
        msgspec.Meta(description="Whether it is expected to miss its deadline: in the answer that accepts it."),
    ] = msgspec.UNSET
    suspended: Annotated[
        bool | msgspec.UnsetType, msgspec.Meta(description="Whether it has spent its fuel and waits for more.")
    ] = msgspec.UNSET
    fuel_spent: Annotated[
        int | msgspec.UnsetType, msgspec.Meta(description="What it has spent by now, in this attempt.")
    ] = msgspec.UNSET


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some jobs, newest first; `cursor` asks for those after them and is null at the end."""

    jobs: tuple[JobBody, ...]
    cursor: str | None


def job_body(record: JobRecord, *, alone: bool = True, at_risk: bool | msgspec.UnsetType = msgspec.UNSET) -> JobBody:
    """Return what HTTP says about a job; one that is not `alone` comes without its receipt, which takes time."""
    job, outcome = record.job, record.outcome
    return JobBody(
        id=job.id,
        state=record.state,
        module=job.call.module,
        export=job.call.export,
        tenant=job.tenant,
        attempts=record.attempts,
        submitted_at=datetime.datetime.fromtimestamp(job.submitted_at, datetime.UTC),
        deadline=None if job.deadline is None else datetime.datetime.fromtimestamp(job.deadline, datetime.UTC),
        at_risk=at_risk,
        suspended=record.suspended if record.state == "running" else msgspec.UNSET,
        fuel_spent=msgspec.UNSET if record.fuel_spent is None else record.fuel_spent,
        outcome=None if outcome is None else _outcome_body(outcome, outcome.of(job).receipt if alone else None),
    )


def _outcome_body(outcome: Outcome, receipt: Receipt | None) -> OutcomeBody:
    values = outcome_values(outcome)
    return OutcomeBody(
        status=outcome.status,
        value=values[0] if len(values) == 1 else values or None,
        values=values,
        fuel_used=outcome.fuel_used,
        memory_peak=outcome.memory_peak,
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        stdout_truncated=outcome.stdout_truncated,
        stderr_truncated=outcome.stderr_truncated,
        files=outcome.files,
        exit_code=outcome.exit_code,
        error=outcome.error,
        trap=outcome.trap,
        queued=outcome.queued,
        ran=outcome.ran,
        attempts=outcome.attempts,
        worker=outcome.worker,
        engine=outcome.engine,
        engine_version=outcome.engine_version,
        reused=outcome.reused,
        fuel_saved=outcome.fuel_saved,
        receipt=receipt,
    )
