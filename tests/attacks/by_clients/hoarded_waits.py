"""Hundreds of requests that wait for a job which does not end."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from clients import LOOP, client, connection, load, request, spinning

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """A tenant may have so many, the next are 429; others have room all the while, and an administrator ends it."""
    async with AsyncExitStack() as stack, client(daemon) as attacker, client(daemon, "victim") as victim:
        job = (await attacker.post("/v1/jobs", json=spinning(await load(attacker, LOOP)))).json()["id"]
        waiting = [await stack.enter_async_context(connection(daemon)) for _ in range(60)]
        for raw in waiting[:50]:
            await raw.say(request(f"GET /v1/jobs/{job}?wait=60"))
        while (await attacker.get("/v1/jobs")).status_code != 429:
            pass
        for raw in waiting[50:]:
            await raw.say(request(f"GET /v1/jobs/{job}?wait=60"))
            answer = await raw.answer()
            assert answer is not None
            assert answer.status == 429
        assert (await victim.get("/v1/jobs")).status_code == 200
        async with client(daemon, "boss") as boss:
            await boss.delete(f"/v1/jobs/{job}")
        for raw in waiting[:50]:
            answer = await raw.answer()
            assert answer is not None
            assert answer.status == 200
