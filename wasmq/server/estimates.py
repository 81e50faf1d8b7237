"""The route for estimates: what a call is expected to cost, and when it would start."""
# Annotations are read by litestar when a route is made, so they stay real objects here.

from typing import Any, Final

from litestar import Request, get
from litestar.types import ASGIApp

from wasmq.server.context import caller_of, context_of, json_response, query_of

__all__ = ["routes"]


@get("/v1/modules/{digest:str}/estimate")
async def estimate(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return what a call is expected to cost, by the calls of the caller's own tenant; of all for who sees all."""
    caller = caller_of(request, "observe")
    query = query_of(request, ("export", "tenant"))
    tenant = query.get("tenant")
    if tenant is not None:
        caller.may_name(tenant)
    context, digest = context_of(request.app), request.path_params["digest"]
    await context.check_modules(caller, (digest,))
    found = await context.scheduler.estimate(
        digest, query.get("export"), tenant=tenant if caller.sees_all else caller.tenant
    )
    return json_response(found)


routes: Final = (estimate,)
"""The routes of this noun."""
