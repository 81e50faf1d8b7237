"""`wasmq tenants`: who shares a daemon, and how."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
import msgspec
from cyclopts import Parameter

from wasmq.cli.exits import Exit, UsageError
from wasmq.cli.output import print_json, print_table
from wasmq.cli.remote import DEFAULT_URL, Json, Token, Url, connect
from wasmq.config import Tenant
from wasmq.job import Reuse

__all__ = ["tenants"]

_Reuse = Annotated[Reuse | None, Parameter(help="Set whether the run of an identical job may answer its jobs.")]
_NOT_SHOWN = frozenset({"tokens", "roles"})  # the daemon keeps them to itself


def tenants(
    name: Annotated[str | None, Parameter(help="Just this tenant.")] = None,
    /,
    *,
    weight: Annotated[float | None, Parameter(help="Set its share against the other tenants.")] = None,
    max_queued: Annotated[int | None, Parameter(help="Set how many of its jobs may wait.")] = None,
    reuse: _Reuse = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """List the tenants and their shares, or show or set one."""
    changes: dict[str, Any] = {"weight": weight, "max_queued": max_queued, "reuse": reuse}
    changes = {key: value for key, value in changes.items() if value is not None}
    if changes and name is None:
        raise UsageError("name the tenant whose share is to be set")

    async def ask() -> dict[str, Tenant]:
        async with connect(url, token) as client:
            if name is None:
                return await client.tenants()
            tenant = await client.tenant(name)
            if changes:
                tenant = msgspec.structs.replace(tenant, **changes)
                await client.set_tenant(name, tenant)
            return {name: tenant}

    found = {
        each: {key: value for key, value in msgspec.structs.asdict(tenant).items() if key not in _NOT_SHOWN}
        for each, tenant in anyio.run(ask).items()
    }
    if json:
        print_json(found)
    else:
        columns = [field for field in Tenant.__struct_fields__ if field not in _NOT_SHOWN]
        rows = [
            (each, *["" if share[key] is None else str(share[key]) for key in columns]) for each, share in found.items()
        ]
        print_table("", ("tenant", *columns), rows)
    return Exit.SUCCEEDED


def _shown(value: object) -> str:
    return "" if value is None else str(value)
