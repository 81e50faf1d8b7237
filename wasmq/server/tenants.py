"""Routes for tenants: what share of the machine each has."""
# Annotations are read by litestar when a route is made, so they stay real objects here.

from typing import Any, Final, get_type_hints

import msgspec
from litestar import Request, get, put
from litestar.types import ASGIApp

from wasmq.admission import check_name
from wasmq.config import Tenant
from wasmq.server.bodies import MAX_NAME, decode
from wasmq.server.context import caller_of, context_of, json_response, query_of

__all__ = ["TenantBody", "TenantList", "routes"]


_SECRETS: Final = ("tokens", "roles")  # who may speak for a tenant is for the configuration alone
TenantBody: Final[Any] = msgspec.defstruct(
    "Tenant",
    [
        (field.name, get_type_hints(Tenant, include_extras=True)[field.name], field.default)
        for field in msgspec.structs.fields(Tenant)
        if field.name not in _SECRETS
    ],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)


class TenantList(msgspec.Struct, frozen=True):
    """The tenants that have been configured, by name."""

    tenants: dict[str, TenantBody]


def tenant_body(tenant: Tenant) -> Any:
    """Return what HTTP says about a tenant."""
    return TenantBody(**{name: getattr(tenant, name) for name in TenantBody.__struct_fields__})


_DECODER: Final = msgspec.json.Decoder(TenantBody)


@get("/v1/tenants/{name:str}")
async def get_tenant(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return a tenant's share; one that nobody configured has the defaults."""
    caller = caller_of(request, "observe")
    query_of(request, ())
    name = _name_of(request)
    caller.may_name(name)
    return json_response(tenant_body(context_of(request.app).scheduler.tenants().get(name, Tenant())))


@get("/v1/tenants")
async def list_tenants(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return the share of every tenant that has been configured."""
    caller_of(request, "administer")
    query_of(request, ())
    return json_response(
        TenantList({name: tenant_body(each) for name, each in context_of(request.app).scheduler.tenants().items()})
    )


@put("/v1/tenants/{name:str}", status_code=200)
async def put_tenant(request: Request[Any, Any, Any]) -> ASGIApp:
    """Set a tenant's share; what is left out takes its default. It holds from the next job on."""
    caller_of(request, "administer")
    query_of(request, ())
    body = decode(_DECODER, await request.body())
    scheduler, name = context_of(request.app).scheduler, _name_of(request)
    known = scheduler.tenants().get(name, Tenant())
    await scheduler.set_tenant(name, msgspec.structs.replace(known, **msgspec.structs.asdict(body)))
    return json_response(body)


def _name_of(request: Request[Any, Any, Any]) -> str:
    return check_name("tenant", request.path_params["name"], MAX_NAME)


routes: Final = (list_tenants, get_tenant, put_tenant)
