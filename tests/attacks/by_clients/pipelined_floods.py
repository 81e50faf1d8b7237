"""Thousands of requests on one connection, before the first is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import connection, request

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """They are answered one by one, in their order, or the connection ends."""
    async with connection(daemon) as raw:
        for _ in range(20):
            await raw.say(request("GET /livez") * 100)
        raw.finish()
        statuses = await raw.hung_up()
        assert set(statuses) <= {200}
        assert len(statuses) <= 2_000
