"""`wasmq tenants`: who shares a daemon, how, and how their accounts stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
import msgspec
from cyclopts import Parameter

from wasmq.cli.exits import Exit, UsageError
from wasmq.cli.output import print_json, print_table
from wasmq.cli.remote import DEFAULT_URL, Json, Token, Url, connect
from wasmq.errors import NoAccount
from wasmq.job import Reuse
from wasmq.units import format_size, parse_size

if TYPE_CHECKING:
    from wasmq.client import Client
    from wasmq.config import Tenant
    from wasmq.ledger import Account

__all__ = ["tenants"]

_Reuse = Annotated[Reuse | None, Parameter(help="Set whether the run of an identical job may answer its jobs.")]
_Record = Annotated[bool | None, Parameter(help="Set whether the host calls of its jobs are kept.")]
_NOT_SHOWN = frozenset({"tokens", "roles"})  # the daemon keeps them to itself
_COLUMNS = (
    "weight",
    "class_",
    "max_queued",
    "max_running",
    "memory",
    "fuel_budget",
    "fuel_period",
    "fuel_rate",
    "grant",
)
_FIGURES = ("free", "reserved", "spent", "running")


def tenants(
    name: Annotated[str | None, Parameter(help="Just this tenant.")] = None,
    /,
    *,
    weight: Annotated[float | None, Parameter(help="Set its share against the other tenants.")] = None,
    class_: Annotated[str | None, Parameter(name="--class", help="Put it into one of [scheduler.classes].")] = None,
    max_queued: Annotated[int | None, Parameter(help="Set how many of its jobs may wait.")] = None,
    max_running: Annotated[int | None, Parameter(help="Set how many of its jobs may run.")] = None,
    memory: Annotated[str | None, Parameter(help="Set what its running jobs may use together: 1GiB.")] = None,
    fuel_budget: Annotated[int | None, Parameter(help="Set the fuel that it may use in each period.")] = None,
    fuel_period: Annotated[float | None, Parameter(help="Set the period of its budget, in seconds.")] = None,
    fuel_burst: Annotated[int | None, Parameter(help="Set the fuel that it can save up.")] = None,
    fuel_rate: Annotated[int | None, Parameter(help="Set the fuel that it may use in a second.")] = None,
    on_empty: Annotated[
        Literal["hold", "refuse"] | None, Parameter(help="Set what becomes of jobs that it cannot pay for now.")
    ] = None,
    credit: Annotated[int | None, Parameter(help="Grant it this much fuel beside its budget, once.")] = None,
    reuse: _Reuse = None,
    record: _Record = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """List the tenants, their shares and accounts, or show, set or credit one."""
    changes = {
        "weight": weight,
        "class_": class_,
        "max_queued": max_queued,
        "max_running": max_running,
        "memory": None if memory is None else parse_size(memory, "--memory"),
        "fuel_budget": fuel_budget,
        "fuel_period": fuel_period,
        "fuel_burst": fuel_burst,
        "fuel_rate": fuel_rate,
        "on_empty": on_empty,
        "reuse": reuse,
        "record": record,
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    if (changes or credit is not None) and name is None:
        raise UsageError("name the tenant that is to be set or credited")

    async def ask() -> dict[str, tuple[Tenant, Account | None]]:
        async with connect(url, token) as client:
            if name is None:
                accounts = await client.accounts()
                return {each: (tenant, accounts.get(each)) for each, tenant in (await client.tenants()).items()}
            tenant = await client.tenant(name)
            if changes:
                tenant = msgspec.structs.replace(tenant, **changes)
                await client.set_tenant(name, tenant)
            if credit is not None:
                await client.credit(name, credit)
            return {name: (tenant, await _account(client, name))}

    found = anyio.run(ask)
    if json:
        print_json({each: _facts(tenant, account) for each, (tenant, account) in found.items()})
    else:
        rows = [(each, *_row(tenant, account)) for each, (tenant, account) in found.items()]
        print_table("", ("tenant", *[name.rstrip("_") for name in _COLUMNS], *_FIGURES), rows)
    return Exit.SUCCEEDED


async def _account(client: Client, name: str) -> Account | None:
    try:
        return await client.account(name)
    except NoAccount:
        return None


def _facts(tenant: Tenant, account: Account | None) -> dict[str, Any]:
    share = msgspec.to_builtins(tenant, builtin_types=(int,), enc_hook=int)
    share = {key: value for key, value in share.items() if key not in _NOT_SHOWN}
    return share | {"account": None if account is None else msgspec.structs.asdict(account)}


def _row(tenant: Tenant, account: Account | None) -> list[str]:
    cells = [getattr(tenant, name) for name in _COLUMNS]
    cells[_COLUMNS.index("memory")] = None if tenant.memory is None else format_size(tenant.memory)
    cells += [None if account is None else getattr(account, name) for name in _FIGURES]
    return ["" if cell is None else str(cell) for cell in cells]
