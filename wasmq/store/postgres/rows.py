"""Rows of the database to jobs and records, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasmq.store.protocol import JobRecord
from wasmq.store.records import decode_job, decode_outcome, encode_job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Record

    from wasmq.job import Job, State


def columns_of(jobs: Sequence[Job], now: float) -> list[list[Any]]:
    """Return what `put.sql` writes of jobs: the columns of their rows."""
    return [
        [job.id for job in jobs],
        [job.tenant for job in jobs],
        [job.key for job in jobs],
        [job.priority for job in jobs],
        [job.order for job in jobs],
        [job.due for job in jobs],
        ["ready" if job.due <= now else "delayed" for job in jobs],
        [encode_job(job) for job in jobs],
        [job.deadline for job in jobs],
    ]


def job_of(row: Record) -> Job:
    """Return the job in a row."""
    return decode_job(
        row["body"],
        id=row["id"],
        tenant=row["tenant"],
        key=row["key"],
        attempt=row["attempt"],
        returned=row["returned"],
        order=row.get("ord"),
    )


def record_of(row: Record) -> JobRecord:
    """Return a row as the store's record of a job."""
    state: State = row["state"] if row["state"] in ("running", "finished") else "queued"
    outcome = None if row["outcome"] is None else decode_outcome(row["outcome"])
    return JobRecord.of(job_of(row), state, outcome)


def turn(row: Record) -> tuple[float, int]:
    """Return what claimed jobs are sorted by: their tags, then their age."""
    return row["ord"], row["age"]


def is_id(text: str) -> bool:
    """Return whether a text can be an id at all: whatever a caller sends may be asked for."""
    return text.isascii() and text.isprintable()
