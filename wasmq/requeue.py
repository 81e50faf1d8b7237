"""A job that was lost, wanted again: the same call, with the same limits, as a new job. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wasmq.errors import NotLost
from wasmq.job import limits_again
from wasmq.submission import Request

if TYPE_CHECKING:
    from wasmq.store import JobRecord


def again(record: JobRecord) -> Request:
    """Return the request for what a lost job was to do; its key makes two of them one. Raises `NotLost`."""
    job, outcome = record.job, record.outcome
    if outcome is None or outcome.status != "lost":
        state = record.state if outcome is None else outcome.status
        raise NotLost(f"job {job.id} is {state}: only what was lost is queued again, anything else has its answer")
    program = job.call.program
    return Request(
        module=job.call.module,
        export=job.call.export,
        args=job.call.args,
        program=None if program is None else msgspec.structs.asdict(program),  # type: ignore[arg-type]
        link=dict(job.call.links),
        limits=limits_again(job.caps),
        record=job.caps.recording > 0,
        on_exhausted="suspend" if job.refuellable else "stop",
        tenant=job.tenant,
        priority=job.priority,
        key=f"requeue {job.id}",
        grant=job.call.grant,
        packed=True,
    )
