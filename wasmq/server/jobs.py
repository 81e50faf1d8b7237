"""Routes for jobs: submit, look, wait, cancel, requeue, refuel. Bodies go straight from bytes to structs and back."""
# Annotations are read by litestar when a route is made, so they stay real objects here.

import math
from collections.abc import Sequence
from typing import Any, Final, cast, get_args

import anyio.to_thread
import msgspec
from litestar import Request, delete, get, post
from litestar.types import ASGIApp

from wasmq import submission as core
from wasmq.admission import check_export
from wasmq.errors import CursorGone, UnknownJob
from wasmq.job import State, Status
from wasmq.server.bodies import FuelBody, job_body
from wasmq.server.context import Context, body_of, caller_of, context_of, encode, json_response, query_of
from wasmq.server.json_values import read_arguments
from wasmq.server.problems import InvalidQuery
from wasmq.server.requests import MAX_KEY, FuelRequest, InvalidBody, JobRequest, decode
from wasmq.server.tokens import Caller
from wasmq.store import JobRecord
from wasmq.supply import check_link_count

__all__ = ["MAX_PAGE", "routes"]

MAX_PAGE: Final = 1_000
"""Jobs in one page."""
_DEFAULT_PAGE: Final = 100
_HEAVY: Final = 2**18  # bytes that a job brought and left, above which its receipt is not made on the loop's thread
_DECODER: Final[msgspec.json.Decoder[JobRequest | list[JobRequest]]] = msgspec.json.Decoder(
    JobRequest | list[JobRequest]
)
_FUEL: Final = msgspec.json.Decoder(FuelRequest)
_STATUSES: Final = (*get_args(State), *get_args(Status))


@post("/v1/jobs", status_code=202)
async def submit(request: Request[Any, Any, Any]) -> ASGIApp:
    """Queue one job, or all of an array, or none; with `wait` answer when they have finished, or it is over."""
    context = context_of(request.app)
    caller = caller_of(request, "submit")
    seconds = _waiting(context, request)
    if seconds:
        caller.must("observe")
    wanted = decode(_DECODER, await body_of(request))
    key = request.headers.get("idempotency-key")
    if isinstance(wanted, JobRequest):
        await _find_modules(context, caller, [wanted])
        checked = _checked(context, caller, wanted, key=_one_key(wanted.key, key))
        [body], finished = await _submit(context, caller, [checked], seconds)
        return json_response(body, 200 if finished else 202)
    if key is not None:
        raise InvalidBody('Idempotency-Key names one job; in an array give each job its own "key"')
    if len(wanted) > context.config.max_batch:
        raise InvalidBody(
            f"{len(wanted)} jobs in one request; at most {context.config.max_batch} are taken ([server] max_batch)"
        )
    await _find_modules(context, caller, wanted)
    checks = [_checked(context, caller, one, key=one.key, where=f"job {index}: ") for index, one in enumerate(wanted)]
    bodies, finished = await _submit(context, caller, checks, seconds)
    return json_response(b"[" + b",".join(bodies) + b"]", 200 if finished else 202)


@get("/v1/jobs")
async def list_jobs(request: Request[Any, Any, Any]) -> ASGIApp:
    """List jobs, newest first, or those that `ids` names, in its order and with `wait` once all have finished.

    A page ends early when it would be larger than `[server] max_body`: each job carries up to its `output` of text.
    """
    context = context_of(request.app)
    caller = caller_of(request, "observe")
    query = query_of(request, ("tenant", "status", "cursor", "limit", "ids", "wait"))
    if "ids" in query:
        return await _named(context, caller, query)
    if "wait" in query:
        raise InvalidQuery("wait: only with ids")
    tenant, cursor = query.get("tenant"), query.get("cursor")
    if tenant is not None:
        caller.may_name(tenant)
    status = query.get("status")
    if status is not None and status not in _STATUSES:
        raise InvalidQuery(f"status: {status!r} is not one of {', '.join(_STATUSES)}")
    limit = _limit(query.get("limit"))
    try:
        if cursor is not None and not caller.sees_all:
            caller.may_see(await context.scheduler.job(cursor))
        # One more than asked for tells whether there is a next page.
        records = await context.scheduler.jobs(
            tenant=tenant if caller.sees_all else caller.tenant,
            status=cast("State | Status | None", status),
            after=cursor,
            limit=limit + 1,
        )
    except UnknownJob:
        raise CursorGone(f"cursor {cursor!r}: the job at the page's end has left the history; begin anew") from None
    bodies = _page(context, records[:limit])
    cursor = records[len(bodies) - 1].job.id if len(bodies) < len(records) else None
    return json_response(b'{"jobs":[' + b",".join(bodies) + b'],"cursor":' + encode(cursor) + b"}")


async def _named(context: Context, caller: Caller, query: dict[str, str]) -> ASGIApp:
    """Return those of the jobs with some ids that there are, as many as there is room for."""
    if query.keys() - {"ids", "wait"}:
        raise InvalidQuery("ids: goes with wait alone")
    ids = query["ids"].split(",")
    if len(ids) > MAX_PAGE:
        raise InvalidQuery(f"ids: {len(ids)} are above the limit of {MAX_PAGE}")
    seconds = min(_seconds(query["wait"]), context.config.max_wait) if "wait" in query else 0.0
    records = [record for job_id in ids if (record := await _seen(context, caller, job_id)) is not None]
    unfinished = [record.job.id for record in records if record.outcome is None]
    if seconds and unfinished:
        await context.wait_for_ids(unfinished, seconds)
        records = [record for job_id in ids if (record := await _seen(context, caller, job_id)) is not None]
    return json_response(b'{"jobs":[' + b",".join(_page(context, records)) + b'],"cursor":null}')


async def _seen(context: Context, caller: Caller, job_id: str) -> JobRecord | None:
    try:
        return caller.may_see(await context.scheduler.job(job_id))
    except UnknownJob:
        return None


def _page(context: Context, records: Sequence[JobRecord]) -> list[bytes]:
    """Return jobs as they travel, as many as fit `[server] max_body`, but one at least."""
    bodies: list[bytes] = []
    room = int(context.config.max_body)
    for record in records:
        body = encode(job_body(record, alone=False))
        room -= len(body)
        if bodies and room < 0:
            break
        bodies.append(body)
    return bodies


@get("/v1/jobs/{id:str}")
async def get_job(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return one job, at once or when it has finished or `wait` seconds have passed."""
    context = context_of(request.app)
    caller = caller_of(request, "observe")
    job_id = request.path_params["id"]
    seconds = _waiting(context, request)
    if not seconds:
        return json_response(await _told(caller.may_see(await context.scheduler.job(job_id))))
    if not caller.sees_all:
        caller.may_see(await context.scheduler.job(job_id))
    return json_response(await _told(await context.wait(job_id, seconds)))


async def _told(record: JobRecord) -> bytes:
    """Return one job with its receipt as it travels: made in a thread where that takes long."""
    outcome = record.outcome
    if outcome is None or record.job.call.weight() + outcome.weight() < _HEAVY:
        return encode(job_body(record))
    return await anyio.to_thread.run_sync(lambda: encode(job_body(record)))


@delete("/v1/jobs/{id:str}", status_code=200)
async def cancel(request: Request[Any, Any, Any]) -> ASGIApp:
    """Cancel a job and return it as it is now; one that had finished stays as it was."""
    context = context_of(request.app)
    caller = caller_of(request, "submit")
    query_of(request, ())
    job_id = request.path_params["id"]
    if not caller.sees_all:
        caller.may_see(await context.scheduler.job(job_id))
    await context.scheduler.cancel(job_id)
    return json_response(await _told(await context.scheduler.job(job_id)))


@post("/v1/jobs/{id:str}/requeue", status_code=202)
async def requeue(request: Request[Any, Any, Any]) -> ASGIApp:
    """Queue the call of a lost job again, as a new job, and return that one; a second time too."""
    context = context_of(request.app)
    caller = caller_of(request, "submit")
    query_of(request, ())
    job_id = request.path_params["id"]
    if not caller.sees_all:
        caller.may_see(await context.scheduler.job(job_id))
    handle = await context.scheduler.requeue(job_id)
    return json_response(job_body(await context.scheduler.job(handle.id)), 202)


@post("/v1/jobs/{id:str}/refuel", status_code=200)
async def refuel(request: Request[Any, Any, Any]) -> ASGIApp:
    """Let a job that runs, or is suspended, spend more fuel; returns what it may spend in all."""
    context = context_of(request.app)
    caller = caller_of(request, "submit")
    query_of(request, ())
    job_id = request.path_params["id"]
    wanted = decode(_FUEL, await body_of(request))
    if not caller.sees_all:
        caller.may_see(await context.scheduler.job(job_id))
    return json_response(FuelBody(id=job_id, fuel=await context.scheduler.refuel(job_id, int(wanted.fuel))))


async def _submit(
    context: Context, caller: Caller, requests: list[core.Request], seconds: float
) -> tuple[list[bytes], bool]:
    """Queue jobs and wait for them if told to; returns them as they are then, and whether all have finished.

    Only so many come with their outcomes as fit `[server] max_body`; the others are told as they were accepted.
    """
    accepted = await context.scheduler.accept(requests)
    if seconds:
        await context.wait_for(accepted, seconds)
    bodies: list[bytes] = []
    room = int(context.config.max_body)
    finished = bool(seconds)
    for each in accepted:
        outcome = each.handle.outcome if seconds else None
        if outcome is not None:
            record = JobRecord(each.job, "finished", outcome.attempts, outcome)
            body = await _told(record) if len(accepted) == 1 else encode(job_body(record, alone=False))
            room -= len(body)
            if room >= 0 or not bodies:
                bodies.append(body)
                continue
        finished = False
        if each.is_new:
            at_risk = msgspec.UNSET if each.job.deadline is None else each.handle.at_risk
            bodies.append(encode(job_body(JobRecord(each.job, "queued", 0, None), at_risk=at_risk)))
        else:
            record = await context.scheduler.job(each.job.id)
            bodies.append(await _told(record) if len(accepted) == 1 else encode(job_body(record, alone=False)))
    return bodies, finished


async def _find_modules(context: Context, caller: Caller, wanted: Sequence[JobRequest]) -> None:
    """Have the modules of jobs loaded, if all that they name are the caller's to use."""
    for each in wanted:
        check_link_count(each.link)
    await context.check_modules(caller, [digest for each in wanted for digest in (each.module, *each.link.values())])
    await context.scheduler.recall({each.module for each in wanted})


def _checked(context: Context, caller: Caller, wanted: JobRequest, *, key: str | None, where: str = "") -> core.Request:
    if wanted.grant:
        caller.must("administer")
    module = context.scheduler.module(wanted.module)
    export = check_export(module, wanted.export)
    return core.Request(
        module=wanted.module,
        export=export,
        args=read_arguments(module.function(export), wanted.args, where),
        link=wanted.link,
        program=wanted.program(),
        limits=wanted.limits.limits(),
        tenant=caller.tenant_of(wanted.tenant),
        priority=wanted.priority,
        key=key,
        delay=wanted.delay,
        deadline=wanted.deadline,
        on_exhausted=wanted.on_exhausted,
        grant=wanted.grant,
        reuse=wanted.reuse,
        record=wanted.record,
    )


def _one_key(key: str | None, header: str | None) -> str | None:
    if header is None:
        return key
    if not 1 <= len(header) <= MAX_KEY:
        raise InvalidBody(f"Idempotency-Key: 1 to {MAX_KEY} characters wanted, {len(header)} came")
    if key is not None and key != header:
        raise InvalidBody('Idempotency-Key and "key" differ; give one of them')
    return header


def _waiting(context: Context, request: Request[Any, Any, Any]) -> float:
    """Return the seconds that a request wants to wait, the only thing that its query may say."""
    wait = query_of(request, ("wait",)).get("wait")
    return 0.0 if wait is None else min(_seconds(wait), context.config.max_wait)


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_PAGE):
        raise InvalidQuery(f"limit: {text!r} is not a number from 1 to {MAX_PAGE}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidQuery(f"wait: {text!r} is not a number of seconds")
    return seconds


routes: Final = (submit, list_jobs, get_job, cancel, requeue, refuel)
