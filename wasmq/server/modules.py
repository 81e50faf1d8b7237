"""Routes for modules: bring one, list them, look at one."""
# Annotations are read by litestar when a route is made, so they stay real objects here.

from typing import Any, Final, Literal

import msgspec
from litestar import Request, get, put
from litestar.types import ASGIApp

from wasmq import types, wit
from wasmq.modules import Module
from wasmq.server.context import Reply, body_of, caller_of, context_of, json_response, query_of
from wasmq.server.problems import InvalidQuery

__all__ = ["WASM", "ModuleBody", "ModuleList", "module_body", "routes"]

WASM: Final = "application/wasm"
"""What a request accepts that wants a module's bytes."""


class FunctionBody(msgspec.Struct, frozen=True, tag_field="kind", tag="function"):
    """A function's type: value types as WebAssembly text writes them."""

    params: tuple[str, ...]
    results: tuple[str, ...]


class MemoryBody(msgspec.Struct, frozen=True, tag_field="kind", tag="memory"):
    """A memory's type: `minimum` and `maximum` in pages of `page_size` bytes."""

    minimum: int
    maximum: int | None
    memory64: bool
    shared: bool
    page_size: int


class TableBody(msgspec.Struct, frozen=True, tag_field="kind", tag="table"):
    """A table's type: `minimum` and `maximum` in elements."""

    element: str
    minimum: int
    maximum: int | None
    table64: bool


class GlobalBody(msgspec.Struct, frozen=True, tag_field="kind", tag="global"):
    """A global's type."""

    value: str
    mutable: bool


class TagBody(msgspec.Struct, frozen=True, tag_field="kind", tag="tag"):
    """An exception tag's type."""

    params: tuple[str, ...]


class ParameterBody(msgspec.Struct, frozen=True):
    """A parameter's name and type, as WIT writes it."""

    name: str
    type: str


class ComponentFunctionBody(msgspec.Struct, frozen=True, tag_field="kind", tag="component-function"):
    """A component's function, in words of WIT; `wit` is all of it, `types` the same for programs."""

    params: tuple[ParameterBody, ...]
    result: str | None
    wit: str
    types: list[Any]


class ItemBody(msgspec.Struct, frozen=True, tag_field="kind", tag="item"):
    """Something else that a component has under a name, such as a type, as WIT writes it."""

    wit: str


_TypeBody = FunctionBody | MemoryBody | TableBody | GlobalBody | TagBody | ComponentFunctionBody | ItemBody


class ExportBody(msgspec.Struct, frozen=True):
    """What a module offers under a name."""

    name: str
    type: _TypeBody


class ImportBody(msgspec.Struct, frozen=True):
    """What a module needs from outside; `satisfied` says whether WASI has it."""

    module: str
    name: str
    type: _TypeBody
    satisfied: bool


class ModuleBody(msgspec.Struct, frozen=True):
    """A loaded module: the SHA-256 of its wasm bytes in hex, and their number."""

    digest: str
    kind: Literal["module", "component"]
    size: int
    exports: tuple[ExportBody, ...]
    imports: tuple[ImportBody, ...]


class ModuleList(msgspec.Struct, frozen=True):
    """Every loaded module."""

    modules: tuple[ModuleBody, ...]


def module_body(module: Module) -> ModuleBody:
    """Return what HTTP says about a module."""
    missing = {id(wanted) for wanted, _ in module.missing}  # by place: two imports can be the same in all they say
    return ModuleBody(
        digest=module.digest,
        kind=module.kind,
        size=module.size,
        exports=tuple([ExportBody(each.name, _type_body(each.type)) for each in module.exports]),
        imports=tuple(
            [
                ImportBody(each.module, each.name, _type_body(each.type), id(each) not in missing)
                for each in module.imports
            ]
        ),
    )


def _type_body(of: types.ExternType) -> _TypeBody:
    match of:
        case types.FunctionType():
            return FunctionBody(of.params, of.results)
        case types.MemoryType():
            return MemoryBody(of.minimum, of.maximum, of.memory64, of.shared, of.page_size)
        case types.TableType():
            return TableBody(of.element, of.minimum, of.maximum, of.table64)
        case types.GlobalType():
            return GlobalBody(of.value, of.mutable)
        case types.TagType():
            return TagBody(of.params)
        case wit.Func():
            params = tuple([ParameterBody(param.name, str(param.type)) for param in of.params])
            result = None if of.result is None else str(of.result)
            return ComponentFunctionBody(params, result, str(of), msgspec.to_builtins(of))
        case wit.Definition() | wit.Resource() | wit.OtherItem():
            return ItemBody(wit.shown("", of).replace("  ", " "))


@put("/v1/modules", status_code=200)
async def put_module(request: Request[Any, Any, Any]) -> ASGIApp:
    """Load the module that the body is, for the caller's tenant; one that is here already is only looked up.

    Who administers may load it for another tenant, or have it shared with all of them.
    """
    caller = caller_of(request, "submit")
    query = query_of(request, ("tenant", "shared"))
    tenant, shared = query.get("tenant", caller.tenant), query.get("shared", "false")
    if shared not in ("true", "false"):
        raise InvalidQuery(f"shared: {shared!r} is not true or false")
    if shared == "true":
        caller.must("administer")
        if "tenant" in query:
            raise InvalidQuery("shared: goes without tenant")
        tenant = None
    elif tenant is not None:
        caller.may_name(tenant)
    scheduler = context_of(request.app).scheduler
    module = await scheduler.load(await body_of(request))
    if shared == "true" or tenant is not None:
        await scheduler.share(module, tenant)
    return json_response(module_body(module))


@get("/v1/modules")
async def list_modules(request: Request[Any, Any, Any]) -> ASGIApp:
    """List every loaded module, for who administers."""
    caller_of(request, "administer")
    query_of(request, ())
    return json_response(ModuleList(tuple([module_body(each) for each in context_of(request.app).scheduler.modules()])))


@get("/v1/modules/{digest:str}")
async def get_module(request: Request[Any, Any, Any]) -> ASGIApp:
    """Return one module: to a tenant, one that it has loaded or that was shared with it.

    Its bytes are for who administers: whoever may call a module need not have it.
    """
    wants_bytes = WASM in request.headers.get("accept", "")
    caller = caller_of(request, "administer" if wants_bytes else "observe")
    query_of(request, ())
    context, digest = context_of(request.app), request.path_params["digest"]
    await context.check_modules(caller, (digest,))
    await context.scheduler.recall([digest])
    if wants_bytes:
        return Reply(await context.scheduler.wasm(digest), media=WASM.encode())
    return json_response(module_body(context.scheduler.module(digest)))


routes: Final = (put_module, list_modules, get_module)
