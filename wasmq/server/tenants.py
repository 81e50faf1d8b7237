"""Routes for tenants: what share of the machine each has, how its account stands, and credits to it."""
# Annotations are read by litestar when a route is made, so they stay real objects here.

from typing import Annotated, Any, Final, get_type_hints

import msgspec
from litestar import Request, get, post, put
from litestar.types import ASGIApp

from wasmq.admission import check_name
from wasmq.config import Tenant, checked_tenant
from wasmq.errors import ConfigError, InvalidArguments, NoAccount
from wasmq.ledger import MOST, Account
from wasmq.server.context import body_of, caller_of, context_of, json_response, query_of
from wasmq.server.requests import MAX_KEY, MAX_NAME, InvalidBody, decode

__all__ = ["AccountBody", "CreditRequest", "TenantBody", "TenantList", "TenantView", "routes"]


_SECRETS: Final = ("tokens", "roles")  # who may speak for a tenant is for the configuration alone
_BYTES: Final[Any] = Annotated[int, msgspec.Meta(ge=1, le=MOST)] | None


def _type_of(name: str) -> Any:
    return _BYTES if name == "memory" else get_type_hints(Tenant, include_extras=True)[name]


_FIELDS: Final[list[tuple[str, Any, Any]]] = [
    (field.name, _type_of(field.name), field.default)
    for field in msgspec.structs.fields(Tenant)
    if field.name not in _SECRETS
]
_NAMES: Final = {field.name: field.encode_name for field in msgspec.structs.fields(Tenant)}
TenantBody: Final[Any] = msgspec.defstruct(
    "Tenant", _FIELDS, rename=_NAMES, frozen=True, kw_only=True, forbid_unknown_fields=True
)


class AccountBody(Account, frozen=True, kw_only=True):
    """How a tenant's account stands: fuel, jobs, bytes, and when its next job can start that waits for it."""


TenantView: Final[Any] = msgspec.defstruct(
    "TenantView", [*_FIELDS, ("account", AccountBody | None, None)], rename=_NAMES, frozen=True, kw_only=True
)


class TenantList(msgspec.Struct, frozen=True):
    """The tenants that have been configured, by name."""

    tenants: dict[str, TenantView]


class CreditRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fuel to be granted to a tenant beside its budget; once only for a `key`."""

    fuel: Annotated[int, msgspec.Meta(ge=1, le=MOST)]
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY)] | None = None


def tenant_view(tenant: Tenant, account: Account | None) -> Any:
    """Return what HTTP says about a tenant."""
    share = {name: getattr(tenant, name) for name in TenantBody.__struct_fields__}
    share["memory"] = None if tenant.memory is None else int(tenant.memory)
    return TenantView(**share, account=None if account is None else AccountBody(**msgspec.structs.asdict(account)))


_DECODER: Final = msgspec.json.Decoder(TenantBody)
_CREDIT: Final = msgspec.json.Decoder(CreditRequest)


@get("/v1/tenants/{name:str}")
async def get_tenant(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return a tenant's share and account; one that nobody configured has the defaults, and no account."""
    caller = caller_of(request, "observe")
    query_of(request, ())
    name = _name_of(request)
    caller.may_name(name)
    return await _seen(request, name)


@get("/v1/tenants")
async def list_tenants(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return the share of every tenant that has been configured, with the accounts as last known."""
    caller_of(request, "administer")
    query_of(request, ())
    scheduler = context_of(request.app).scheduler
    accounts = scheduler.accounts()
    return json_response(
        TenantList({name: tenant_view(each, accounts.get(name)) for name, each in scheduler.tenants().items()})
    )


@put("/v1/tenants/{name:str}", status_code=200)
async def put_tenant(request: Request[Any, Any, Any]) -> ASGIApp:
    """Set a tenant's share and its account's terms; what is left out takes its default.

    It holds from the next job on. What the account holds stays.
    """
    caller_of(request, "administer")
    query_of(request, ())
    body = decode(_DECODER, await body_of(request))
    scheduler, name = context_of(request.app).scheduler, _name_of(request)
    known = scheduler.tenants().get(name, Tenant())
    try:
        tenant = checked_tenant(name, msgspec.structs.replace(known, **msgspec.structs.asdict(body)))
    except ConfigError as error:
        raise InvalidBody(str(error)) from None
    try:
        await scheduler.set_tenant(name, tenant)
    except ConfigError as error:
        # A class that this daemon does not have: the body is right, and somewhere else it may do.
        raise InvalidArguments(str(error)) from None
    return await _seen(request, name)


@post("/v1/tenants/{name:str}/credit", status_code=200)
async def credit_tenant(request: Request[Any, Any, Any]) -> ASGIApp:
    """Grant a tenant fuel beside its budget, and return its account then."""
    caller_of(request, "administer")
    query_of(request, ())
    credit = decode(_CREDIT, await body_of(request))
    header = request.headers.get("idempotency-key")
    if header is not None and credit.key not in (None, header):
        raise InvalidBody('Idempotency-Key and "key" differ; give one of them')
    account = await context_of(request.app).scheduler.credit(
        _name_of(request), credit.fuel, key=credit.key if header is None else header
    )
    return json_response(account)


async def _seen(request: Request[Any, Any, Any], name: str) -> ASGIApp:
    scheduler = context_of(request.app).scheduler
    try:
        account = await scheduler.account(name)
    except NoAccount:
        account = None
    return json_response(tenant_view(scheduler.tenants().get(name, Tenant()), account))


def _name_of(request: Request[Any, Any, Any]) -> str:
    return check_name("tenant", request.path_params["name"], MAX_NAME)


routes: Final = (list_tenants, get_tenant, put_tenant, credit_tenant)
