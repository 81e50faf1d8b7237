"""Routes for whoever watches the daemon: is it alive, can it take jobs, what has it done."""
# Annotations are read by litestar when a route is made, so they stay real objects here.

from typing import Any, Final

from litestar import Request, get
from litestar.types import ASGIApp

from wasmq.server.context import Reply, caller_of, context_of, json_response

__all__ = ["routes"]

_TEXT_FORMAT: Final = b"text/plain; version=0.0.4; charset=utf-8"


@get("/livez")
async def livez(request: Request[Any, Any, Any]) -> ASGIApp:
    """Say whether the loops run and claim jobs: 200, or 503 with the reason, such as a store that is away."""
    scheduler = context_of(request.app).scheduler
    return _answer("live", None if scheduler.live else scheduler.problem)


@get("/readyz")
async def readyz(request: Request[Any, Any, Any]) -> ASGIApp:
    """Say whether jobs sent now will run: 200, or 503 with the reason when they should be sent elsewhere."""
    return _answer("ready", context_of(request.app).scheduler.problem)


@get("/metrics")
async def metrics(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return the metrics in Prometheus' text format; they tell of every tenant, so who administers sees them."""
    caller_of(request, "administer")
    body = context_of(request.app).scheduler.metrics.render()
    return Reply(body, media=_TEXT_FORMAT)


def _answer(field: str, problem: str | None) -> ASGIApp:
    return json_response({field: True}) if problem is None else json_response({field: False, "reason": problem}, 503)


routes: Final = (livez, readyz, metrics)
