"""Requests whose body comes drop by drop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from clients import Connection, connection, request

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """The daemon hangs up, whether the length was told or not."""
    for header, drop in (("Content-Length: 1000000", b" "), ("Transfer-Encoding: chunked", b"1\r\n \r\n")):
        async with connection(daemon) as raw, anyio.create_task_group() as tasks:

            async def drip(raw: Connection = raw, drop: bytes = drop) -> None:
                while True:
                    await raw.say(drop)
                    await anyio.sleep(0.05)

            await raw.say(request("POST /v1/jobs", header))
            tasks.start_soon(drip)
            assert await raw.hung_up() in ([408], [])
            tasks.cancel_scope.cancel()
