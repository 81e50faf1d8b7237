"""Routes to check a bill: what a job was asked to do, and running it again."""
# Annotations are read by litestar when a route is made, so they stay real objects here.

from typing import Any, Final

import msgspec
from litestar import Request, get, post
from litestar.types import ASGIApp

from wasmq import wit
from wasmq.job import Access, Job, Program
from wasmq.modules import Module
from wasmq.receipts import limits_of
from wasmq.recording import MSGPACK
from wasmq.replay import recorded
from wasmq.server.bodies import job_body
from wasmq.server.context import Reply, caller_of, context_of, json_response, query_of
from wasmq.server.json_values import JsonValue, json_value
from wasmq.wit_json import to_json
from wasmq.wit_values import natural

__all__ = ["CallBody", "routes"]


class CallLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a job might spend, with every blank filled in: fuel, bytes, seconds, bytes, bytes, calls."""

    fuel: int
    memory: int
    timeout: float
    output: int
    files: int
    host_calls: int


class CallBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a job was asked to do, in the form in which it can be submitted."""

    module: str
    export: str
    args: tuple[JsonValue, ...]
    link: dict[str, str]
    argv: tuple[str, ...]
    env: dict[str, str]
    stdin: bytes
    files: dict[str, bytes]
    collect: tuple[str, ...]
    dirs: dict[str, Access]
    name: str
    deterministic: bool
    limits: CallLimits


def call_body(job: Job, module: Module) -> CallBody:
    """Return what HTTP says about the call of a job, whose module must be loaded."""
    program = job.call.program or Program()
    return CallBody(
        module=job.call.module,
        export=job.call.export,
        args=_arguments(job, module),
        link=dict(job.call.links),
        argv=program.argv,
        env=program.env,
        stdin=program.stdin,
        files=program.files,
        collect=program.collect,
        dirs=program.dirs,
        name=program.name,
        deterministic=program.deterministic,
        limits=CallLimits(**limits_of(job.caps)),  # type: ignore[arg-type]
    )


def _arguments(job: Job, module: Module) -> tuple[Any, ...]:
    function = module.function(job.call.export)
    if not isinstance(function, wit.Func):
        return tuple([json_value(value) for value in job.call.args])
    (packed,) = job.call.args
    wires = msgspec.msgpack.decode(packed)  # type: ignore[arg-type]
    return tuple(
        [to_json(param.type, natural(param.type, wire)) for param, wire in zip(function.params, wires, strict=True)]
    )


@get("/v1/jobs/{id:str}/call")
async def get_call(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return what a job was asked to do."""
    scheduler = context_of(request.app).scheduler
    caller = caller_of(request, "observe")
    query_of(request, ())
    job = caller.may_see(await scheduler.job(request.path_params["id"])).job
    await scheduler.recall([job.call.module])
    return json_response(call_body(job, scheduler.module(job.call.module)))


@get("/v1/jobs/{id:str}/recording")
async def get_recording(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return the host calls of a job, to the bit: the MessagePack that its receipt has the digest of."""
    scheduler = context_of(request.app).scheduler
    caller = caller_of(request, "observe")
    query_of(request, ())
    record = caller.may_see(await scheduler.job(request.path_params["id"]))
    return Reply(recorded(record), media=MSGPACK.encode())


@post("/v1/jobs/{id:str}/replay", status_code=202)
async def replay(request: Request[Any, Any, Any]) -> ASGIApp:
    """Queue the call of a deterministic job that has ended again, and return the new job."""
    scheduler = context_of(request.app).scheduler
    caller = caller_of(request, "submit")
    query_of(request, ())
    job_id = request.path_params["id"]
    if not caller.sees_all:
        caller.may_see(await scheduler.job(job_id))
    handle = await scheduler.rerun(job_id)
    return json_response(job_body(await scheduler.job(handle.id)), 202)


routes: Final = (get_call, get_recording, replay)
