"""`wasmq modules`: what a daemon has loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from wasmq.cli.exits import Exit
from wasmq.cli.inspect import unreadable
from wasmq.cli.output import print_json, print_line, print_table
from wasmq.cli.remote import DEFAULT_URL, Json, ModuleFile, Token, Url, connect
from wasmq.units import format_size

if TYPE_CHECKING:
    from wasmq.remote import RemoteModule

__all__ = ["modules"]


def modules(*files: ModuleFile, url: Url = DEFAULT_URL, token: Token = None, json: Json = False) -> int:
    """List the modules that a daemon has loaded, or bring it some and print their digests."""

    async def ask() -> list[RemoteModule]:
        async with connect(url, token) as client:
            if not files:
                return await client.modules()
            loaded = []
            for file in files:
                with unreadable(file):
                    loaded.append(await client.load(file))
            return loaded

    found = anyio.run(ask)
    if json:
        print_json([_report(module) for module in found])
    elif files:
        for module in found:
            print_line(module.digest)
    else:
        rows = [(each.digest, each.kind, format_size(each.size), " ".join(each.functions)) for each in found]
        print_table("", ("digest", "kind", "size", "functions"), rows)
    return Exit.SUCCEEDED


def _report(module: RemoteModule) -> dict[str, Any]:
    return {
        "digest": module.digest,
        "kind": module.kind,
        "size": module.size,
        "functions": {name: str(function) for name, function in module.functions.items()},
    }
