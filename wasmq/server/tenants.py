"""Routes for tenants: what share of the machine each has."""
# Annotations are read by litestar when a route is made, so they stay real objects here.

from typing import Any, Final

import msgspec
from litestar import Request, get, put
from litestar.types import ASGIApp

from wasmq.admission import check_name
from wasmq.config import Tenant
from wasmq.server.bodies import MAX_NAME, decode
from wasmq.server.context import caller_of, context_of, json_response, query_of

__all__ = ["TenantList", "routes"]


class TenantList(msgspec.Struct, frozen=True):
    """The tenants that have been configured, by name."""

    tenants: dict[str, Tenant]


_DECODER: Final = msgspec.json.Decoder(Tenant)


@get("/v1/tenants/{name:str}")
async def get_tenant(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return a tenant's share; one that nobody configured has the defaults."""
    caller = caller_of(request, "observe")
    query_of(request, ())
    name = _name_of(request)
    caller.may_name(name)
    return json_response(context_of(request.app).scheduler.tenants().get(name, Tenant()))


@get("/v1/tenants")
async def list_tenants(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return the share of every tenant that has been configured."""
    caller_of(request, "administer")
    query_of(request, ())
    return json_response(TenantList(context_of(request.app).scheduler.tenants()))


@put("/v1/tenants/{name:str}", status_code=200)
async def put_tenant(request: Request[Any, Any, Any]) -> ASGIApp:
    """Set a tenant's share; what is left out takes its default. It holds from the next job on."""
    caller_of(request, "administer")
    query_of(request, ())
    tenant = decode(_DECODER, await request.body())
    await context_of(request.app).scheduler.set_tenant(_name_of(request), tenant)
    return json_response(tenant)


def _name_of(request: Request[Any, Any, Any]) -> str:
    return check_name("tenant", request.path_params["name"], MAX_NAME)


routes: Final = (list_tenants, get_tenant, put_tenant)
