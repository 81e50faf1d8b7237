"""Hundreds of connections that say nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from clients import client, connection

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """They end by themselves, and others are answered meanwhile."""
    async with AsyncExitStack() as stack, client(daemon) as attacker:
        silent = [await stack.enter_async_context(connection(daemon)) for _ in range(300)]
        assert (await attacker.get("/v1/jobs")).status_code == 200
        for raw in silent:
            assert await raw.hung_up() in ([408], [])
