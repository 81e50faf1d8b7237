"""Requests whose head has no end, and connections without any request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from clients import Connection, connection

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """The daemon hangs up, whatever was said so far: nothing, line ends, half a line, half the headers."""
    for start in (b"", b"\r\n", b"GET /", b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: "):
        async with connection(daemon) as raw, anyio.create_task_group() as tasks:

            async def drip(raw: Connection = raw, start: bytes = start) -> None:
                while True:
                    await raw.say(start[-1:] or b"")
                    await anyio.sleep(0.05)

            await raw.say(start)
            tasks.start_soon(drip)
            assert await raw.hung_up() in ([408], []), start
            tasks.cancel_scope.cancel()
