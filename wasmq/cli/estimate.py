"""`wasmq estimate`: the fuel cap that a call should have, by what such calls have used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec
from cyclopts import Parameter

from wasmq.cli.exits import Exit
from wasmq.cli.inspect import unreadable
from wasmq.cli.output import clean, print_json, print_line
from wasmq.cli.remote import DEFAULT_URL, Json, ModuleFile, Token, Url, connect

if TYPE_CHECKING:
    from wasmq.estimate import Estimate

__all__ = ["estimate"]

_DIGEST = re.compile("[0-9a-f]{64}")


def estimate(
    file: ModuleFile,
    export: Annotated[str | None, Parameter(help="The exported function; left out, the run of a program.")] = None,
    /,
    *,
    tenant: Annotated[str | None, Parameter(help="Only this tenant's calls; left out, all that may be seen.")] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """Print what a daemon's last calls of an export have used, and the fuel cap that follows."""

    async def ask() -> Estimate:
        async with connect(url, token) as client:
            if _DIGEST.fullmatch(str(file)) and not file.exists():
                return await client.estimate(str(file), export, tenant=tenant)
            with unreadable(file):
                module = await client.load(file)
            return await client.estimate(module, export, tenant=tenant)

    found = anyio.run(ask)
    if json:
        print_json(msgspec.structs.asdict(found))
        return Exit.SUCCEEDED
    for line in _lines(found):
        print_line(clean(line))
    return Exit.SUCCEEDED


def _lines(found: Estimate) -> list[str]:
    name = f"{found.export} of {found.module[:12]}"
    starts = f"a job submitted now would start in {found.start:.3g} s"
    if found.fuel_cap is None:
        return [
            f"no history: the daemon remembers no call of {name}; run some with a generous --fuel first",
            starts,
        ]
    lines = [
        f"{name}: by the last {found.outcomes} outcome{'s' * (found.outcomes != 1)}",
        f"fuel       p50 {found.fuel_p50}, p99 {found.fuel_p99}, max {found.fuel_max}",
        f"suggested  --fuel {found.fuel_cap} (p99 times {found.margin:g})",
        f"runs       {found.run:.3g} s (median); {starts}",
    ]
    if found.out_of_fuel:
        lines.append(f"beware     {found.out_of_fuel} of them ran out of fuel, and would have used more")
    return lines
