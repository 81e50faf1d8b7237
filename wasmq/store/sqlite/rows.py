"""Rows of a SQLite file to jobs and records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmq.store.protocol import JobRecord
from wasmq.store.records import LARGE, decode_job, decode_outcome

if TYPE_CHECKING:
    from wasmq.job import Job, State


def job_of(
    job_id: str, tenant: str, key: str | None, attempt: int, returned: int, body: bytes, order: float | None = None
) -> Job:
    """Return the job in a row."""
    return decode_job(body, id=job_id, tenant=tenant, key=key, attempt=attempt, returned=returned, order=order)


def whole(job: Job, body: bytes) -> Job:
    """Return a job with what its guest is given, which is in `body`."""
    return job_of(job.id, job.tenant, job.key, job.attempt, job.returned, body, job.order)


def record_of(
    job_id: str,
    tenant: str,
    key: str | None,
    attempt: int,
    returned: int,
    body: bytes,
    order: float | None,
    status: State,
    ended: int | None,
    outcome: bytes | None,
) -> JobRecord:
    """Return the record in a row that `RECORD` gives."""
    job = job_of(job_id, tenant, key, attempt, returned, body, order)
    state: State = status if ended is None else "finished"
    return JobRecord.of(job, state, None if outcome is None else decode_outcome(outcome))


def small(record: bytes | None) -> bytes | None:
    """Return a record that has room in its job's row; None for one that goes into a table of its own."""
    return record if record is not None and len(record) <= LARGE else None
