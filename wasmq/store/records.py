"""Jobs and outcomes as bytes, the same in every database: MessagePack of what no query looks into."""

from __future__ import annotations

import msgspec

from wasmq.job import Call, Caps, Job, Outcome, Reuse, Varies

LARGE = 4096
"""Bytes above which a record is kept out of the hot table."""


class _Body(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What hardly changes while a job lives. New fields go to the end and have a default."""

    call: Call
    caps: Caps
    priority: int
    order: float
    cost: float
    submitted_at: float
    due: float
    refuelled: int = 0
    deadline: float | None = None
    varies: Varies | None = "unknown"
    reuse: Reuse = "never"
    recording: bytes | None = None


# An outcome has many fields, and most have their default: only the others are written, by name. What its receipt is
# made of, its last field, is the job beside it.
_Outcome = msgspec.defstruct(
    "_Outcome",
    [
        (
            (field.name, field.type)
            if field.required
            else (field.name, field.type, msgspec.field(default_factory=field.default_factory))
            if field.default is msgspec.NODEFAULT
            else (field.name, field.type, field.default)
        )
        for field in msgspec.structs.fields(Outcome)[:-1]
    ],
    omit_defaults=True,
    gc=False,
)

_encode = msgspec.msgpack.Encoder().encode
_decode_body = msgspec.msgpack.Decoder(_Body).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


def encode_job(job: Job) -> bytes:
    """Return a job without its id, tenant, key and attempts, which have columns of their own."""
    return _encode(
        _Body(
            job.call,
            job.caps,
            job.priority,
            job.order,
            job.cost,
            job.submitted_at,
            job.due,
            job.refuelled,
            job.deadline,
            job.varies,
            job.reuse,
            job.recording,
        )
    )


def decode_job(
    body: bytes,
    *,
    id: str,  # noqa: A002
    tenant: str,
    key: str | None,
    attempt: int,
    returned: int,
    order: float | None = None,
) -> Job:
    """Return the job of which `encode_job` made `body`; `order` is the tag that it has now, if it is not that one."""
    known = _decode_body(body)
    return Job(
        id=id,
        call=known.call,
        caps=known.caps,
        tenant=tenant,
        priority=known.priority,
        key=key,
        submitted_at=known.submitted_at,
        due=known.due,
        order=known.order if order is None else order,
        cost=known.cost,
        attempt=attempt,
        returned=returned,
        refuelled=known.refuelled,
        deadline=known.deadline,
        varies=known.varies,
        reuse=known.reuse,
        recording=known.recording,
    )


def without_input(job: Job) -> Job:
    """Return a job without what its guest is given and answered, which may be large."""
    call = msgspec.structs.replace(job.call, args=(), program=None)
    return msgspec.structs.replace(job, call=call, recording=None)


def encode_outcome(outcome: Outcome) -> bytes:
    """Return an outcome as bytes."""
    return _encode(_Outcome(*msgspec.structs.astuple(outcome)[:-1]))


def decode_outcome(body: bytes) -> Outcome:
    """Return the outcome of which `encode_outcome` made `body`."""
    return _decode_outcome(body)
