"""The OpenAPI document at /schema: the routes by hand, every body from the struct that decodes or encodes it."""
# Annotations are read by litestar when a route is made, so they stay real objects here.

from typing import Any, Final, get_args

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from wasmq.config import ServerConfig
from wasmq.estimate import Estimate
from wasmq.events import JobEvent
from wasmq.job import State, Status
from wasmq.recording import MSGPACK
from wasmq.server.bodies import FuelBody, JobBody, JobPage
from wasmq.server.context import Reply
from wasmq.server.jobs import MAX_PAGE
from wasmq.server.modules import WASM, ModuleBody, ModuleList
from wasmq.server.problems import MEDIA_TYPE, Problem
from wasmq.server.replays import CallBody
from wasmq.server.requests import MAX_KEY, FuelRequest, JobRequest
from wasmq.server.stream import MEDIA_TYPE as EVENTS
from wasmq.server.tenants import AccountBody, CreditRequest, TenantBody, TenantList, TenantView
from wasmq.version import __version__

__all__ = ["document", "route"]

_BODIES: Final = (
    *(JobRequest, JobBody, JobPage, FuelRequest, FuelBody, CallBody, ModuleBody, ModuleList, Estimate),
    *(TenantBody, TenantView, TenantList, AccountBody, CreditRequest, Problem),
)
_JSON: Final = "application/json"


def route(config: ServerConfig) -> HTTPRouteHandler:
    """Return the route that serves the document."""
    encoded = msgspec.json.encode(document(config))

    @get("/schema")
    async def schema() -> ASGIApp:
        return Reply(encoded)

    return schema


def document(config: ServerConfig) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of every route, with the limits of `config` in it."""
    _, schemas = msgspec.json.schema_components(_BODIES, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wasmq",
            "version": __version__,
            "description": "Runs WebAssembly jobs, isolated and metered in fuel. Errors are RFC 9457 problem details. "
            f"A request's body is at most {int(config.max_body)} bytes.",
        },
        "paths": _module_paths() | _job_paths(config) | _tenant_paths() | _probe_paths(),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Stands for a tenant; only where the daemon has tokens.",
                }
            },
        },
        "security": [{}, {"token": []}],
    }


def _module_paths() -> dict[str, Any]:
    return {
        "/v1/modules": {
            "put": _operation(
                "put_module",
                "Load a module",
                {200: ("The module, loaded.", "ModuleBody")},
                (400, 413, 422, 503),
                parameters=[
                    _query("tenant", "For this tenant, where who administers loads it.", {"type": "string"}),
                    _query(
                        "shared",
                        "Whether every tenant may use it; for who administers, and without `tenant`.",
                        {"type": "boolean", "default": False},
                    ),
                ],
                body={"application/wasm": {}, "text/plain": {}},
            ),
            "get": _operation("list_modules", "List modules", {200: ("Every module.", "ModuleList")}, (400,)),
        },
        "/v1/modules/{digest}": {
            "parameters": [_path("digest", "SHA-256 of the wasm bytes, in hex.")],
            "get": _get_module(),
        },
        "/v1/modules/{digest}/estimate": {
            "parameters": [_path("digest", "SHA-256 of the wasm bytes, in hex.")],
            "get": _operation(
                "estimate",
                "What a call is expected to cost by the last ones, and when it would start",
                {200: ("What the daemon remembers of such calls.", "Estimate")},
                (400, 404, 422),
                parameters=[
                    _query("export", "The function; left out, the run of a WASI command.", {"type": "string"}),
                    _query("tenant", "Only this tenant's calls.", {"type": "string"}),
                ],
            ),
        },
    }


def _job_paths(config: ServerConfig) -> dict[str, Any]:
    return {
        "/v1/jobs": {"post": _submit(config), "get": _list_jobs(config)},
        "/v1/jobs/{id}": {
            "parameters": [_path("id", "The job's id.")],
            "get": _operation(
                "get_job",
                "Look at a job, or wait until it has finished",
                {200: ("The job as it is now.", "JobBody")},
                (400, 404),
                parameters=[_wait(config)],
            ),
            "delete": _operation(
                "cancel_job",
                "Cancel a job; one that has finished stays as it is",
                {200: ("The job as it is now.", "JobBody")},
                (400, 404, 503),
            ),
        },
        "/v1/jobs/{id}/events": {
            "parameters": [_path("id", "The job's id.")],
            "get": _job_events(),
        },
        "/v1/jobs/{id}/requeue": {
            "parameters": [_path("id", "The job's id.")],
            "post": _operation(
                "requeue_job",
                "Queue the call of a job that was lost again, as a new job; a second time, that same one",
                {202: ("The new job.", "JobBody")},
                (400, 404, 409, 422, 429, 503),
            ),
        },
        "/v1/jobs/{id}/refuel": {
            "parameters": [_path("id", "The job's id.")],
            "post": _operation(
                "refuel_job",
                "Let a job that runs, or is suspended, spend more fuel",
                {200: ("What it may spend in all.", "FuelBody")},
                (400, 404, 409, 413, 422, 429, 503),
                body={_JSON: {"schema": _ref("FuelRequest")}},
            ),
        },
        "/v1/jobs/{id}/call": {
            "parameters": [_path("id", "The job's id.")],
            "get": _operation(
                "get_call",
                "Look at what a job was asked to do, in the form in which it can be submitted",
                {200: ("The call.", "CallBody")},
                (400, 404),
            ),
        },
        "/v1/jobs/{id}/recording": {
            "parameters": [_path("id", "The job's id.")],
            "get": _get_recording(),
        },
        "/v1/jobs/{id}/replay": {
            "parameters": [_path("id", "The job's id.")],
            "post": _operation(
                "replay_job",
                "Queue the call of a deterministic job that has ended again, as a new job; compare their receipts",
                {202: ("The new job.", "JobBody")},
                (400, 404, 409, 422, 429, 503),
            ),
        },
    }


def _tenant_paths() -> dict[str, Any]:
    return {
        "/v1/tenants": {
            "get": _operation(
                "list_tenants", "List the tenants that are configured", {200: ("By name.", "TenantList")}, (400,)
            ),
        },
        "/v1/tenants/{name}": {
            "parameters": [_path("name", "The tenant's name.")],
            "get": _operation(
                "get_tenant",
                "Look at a tenant's share and account",
                {200: ("Its share, or the defaults.", "TenantView")},
                (400, 422),
            ),
            "put": _operation(
                "put_tenant",
                "Set a tenant's share, and the terms of its account",
                {200: ("What it has now.", "TenantView")},
                (400, 413, 422, 503),
                body={_JSON: {"schema": _ref("Tenant")}},
            ),
        },
        "/v1/tenants/{name}/credit": {
            "parameters": [_path("name", "The tenant's name.")],
            "post": _operation(
                "credit_tenant",
                "Grant a tenant fuel beside its budget",
                {200: ("Its account then.", "AccountBody")},
                (400, 409, 413, 422, 503),
                parameters=[_idempotency_key()],
                body={_JSON: {"schema": _ref("CreditRequest")}},
            ),
        },
    }


def _probe_paths() -> dict[str, Any]:
    return {
        "/livez": {"get": _probe("livez", "live", "Whether the loops run and claim jobs")},
        "/readyz": {"get": _probe("readyz", "ready", "Whether jobs sent now will run")},
        "/metrics": {"get": _plain("metrics", "Metrics in Prometheus' text format", "text/plain")},
        "/schema": {"get": _plain("schema", "This document", _JSON)},
    }


def _wait(config: ServerConfig) -> dict[str, Any]:
    return _query(
        "wait",
        f"Seconds to wait at most; above {config.max_wait:g} is as {config.max_wait:g}.",
        {"type": "number", "minimum": 0, "default": 0},
    )


def _get_module() -> dict[str, Any]:
    operation = _operation("get_module", "Look at a module", {200: ("The module.", "ModuleBody")}, (400, 404))
    operation["responses"]["200"]["description"] = f"The module; its bytes for who administers and accepts {WASM}."
    operation["responses"]["200"]["content"][WASM] = {"schema": {"type": "string", "format": "binary"}}
    return operation


def _job_events() -> dict[str, Any]:
    operation = _operation(
        "job_events",
        "Follow a job from its present state to its end",
        {
            200: (
                "queued, started, progress, output, suspended, refuelled and finished, as server-sent events.",
                "JobBody",
            )
        },
        (400, 404, 429),
        parameters=[
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "description": "The id of the last event heard: output that was told by then is not told again.",
                "schema": {"type": "string"},
            }
        ],
    )
    names = [event.__struct_config__.tag for event in get_args(JobEvent)]
    event = {
        "type": "object",
        "description": "The fields of each event.",
        "properties": {
            "id": {"type": "string", "description": "What Last-Event-ID takes."},
            "event": {"enum": names},
            "data": {"type": "string", "contentMediaType": _JSON},
        },
        "required": ["id", "event", "data"],
    }
    operation["responses"]["200"]["content"] = {EVENTS: {"schema": event}}
    operation["responses"]["204"] = {"description": "The job's end has been told."}
    return operation


def _submit(config: ServerConfig) -> dict[str, Any]:
    def one_or_many(name: str) -> dict[str, Any]:
        return {"anyOf": [_ref(name), {"type": "array", "items": _ref(name), "maxItems": config.max_batch}]}

    operation = _operation(
        "submit_jobs",
        "Queue one job, or all jobs of an array, or none",
        {
            200: ("The same with `wait`, when all have finished.", "JobBody"),
            202: ("The job, or the jobs in the order of the array.", "JobBody"),
        },
        (400, 404, 409, 413, 422, 429, 503),
        parameters=[
            _wait(config),
            _idempotency_key("; for one job, not for an array"),
        ],
        body={_JSON: {"schema": one_or_many("JobRequest")}},
    )
    for status in ("200", "202"):
        operation["responses"][status]["content"][_JSON]["schema"] = one_or_many("JobBody")
    operation["responses"]["429"]["headers"] = {
        "Retry-After": {"description": "Seconds, when the queue is full.", "schema": {"type": "integer"}}
    }
    return operation


def _list_jobs(config: ServerConfig) -> dict[str, Any]:
    page = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 100}
    return _operation(
        "list_jobs",
        "List jobs, newest first",
        {200: ("A page; one of large jobs may be shorter than asked for.", "JobPage")},
        (400, 410),
        parameters=[
            _query("tenant", "Only this tenant's jobs.", {"type": "string"}),
            _query(
                "status",
                "Only jobs in this state, or that ended with this status.",
                {"type": "string", "enum": [*get_args(State), *get_args(Status)]},
            ),
            _query("cursor", "The cursor of the page before.", {"type": "string"}),
            _query("limit", "Jobs in the page.", page),
            _query(
                "ids",
                f"Just these jobs, {MAX_PAGE} at most, separated by commas; goes with `wait` alone.",
                {"type": "string"},
            ),
            _wait(config),
        ],
    )


def _get_recording() -> dict[str, Any]:
    operation = _operation("get_recording", "Look at the host calls of a job that was recorded", {}, (400, 404, 409))
    operation["responses"]["200"] = {
        "description": "The recording, of which the job's receipt has the digest.",
        "content": {MSGPACK: {"schema": {"type": "string", "format": "binary"}}},
    }
    return operation


def _operation(
    name: str,
    summary: str,
    answers: dict[int, tuple[str, str]],
    problems: tuple[int, ...],
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    responses = {
        str(status): {"description": text, "content": {_JSON: {"schema": _ref(schema)}}}
        for status, (text, schema) in answers.items()
    }
    responses |= _problems(*problems, 401, 403, 429, 500, 503)
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _problems(*statuses: int) -> dict[str, Any]:
    return {
        str(status): {"description": _PROBLEMS[status], "content": {MEDIA_TYPE: {"schema": _ref("Problem")}}}
        for status in dict.fromkeys(statuses)
    }


_PROBLEMS: Final = {
    400: "The body is not JSON, or a query parameter is unknown or does not fit.",
    401: "The daemon wants a token, and none came, or one that it does not know.",
    403: "The token is not good for this, or the request comes from another web site.",
    404: "There is no such module or job.",
    409: "The idempotency key was used for another call, or the job was not lost, or cannot be refuelled or replayed.",
    410: "The cursor's job has left the history.",
    413: "The body is too large.",
    422: "The body, or what it asks for, cannot be.",
    429: "Later: the caller is too fast, the queue has no room, the budget is spent, or too many streams are open.",
    500: "The daemon failed.",
    503: "The daemon is stopping, or answers as many requests as it may.",
}


def _idempotency_key(more: str = "") -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": f"The same as the body's key{more}.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
    }


def _probe(name: str, field: str, summary: str) -> dict[str, Any]:
    def content(*others: str) -> dict[str, Any]:
        properties = {field: {"type": "boolean"}} | {other: {"type": "string"} for other in others}
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        return {_JSON: {"schema": schema}}

    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "Yes.", "content": content()},
            "503": {"description": "No, and why.", "content": content("reason")},
            **_problems(401, 403, 429, 500),
        },
    }


def _plain(name: str, summary: str, media: str) -> dict[str, Any]:
    schema = {"type": "object" if media == _JSON else "string"}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": summary + ".", "content": {media: {"schema": schema}}},
            **_problems(401, 403, 429, 500, 503),
        },
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _path(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": text, "schema": {"type": "string"}}


def _query(name: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
