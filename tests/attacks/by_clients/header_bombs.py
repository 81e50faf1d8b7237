"""Headers without an end: one that is large, and many that are small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import connection

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """The connection ends, or the head is refused, before it is all taken in."""
    for line in (b"X-Large: " + b"a" * 2**20 + b"\r\n", b"X: y\r\n" * 100_000):
        async with connection(daemon) as raw:
            await raw.say(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n" + line)
            assert await raw.hung_up() in ([431], [])
    async with connection(daemon) as raw:
        await raw.say(b"GET /" + b"a" * 2**20)
        assert await raw.hung_up() in ([431], [])
