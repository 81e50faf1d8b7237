"""More streams of events than one tenant may have open."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from clients import LOOP, client, connection, load, request, spinning

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """The ones beyond are refused, and the victim's are not."""
    async with AsyncExitStack() as stack, client(daemon) as attacker, client(daemon, "victim") as victim:
        job = (await attacker.post("/v1/jobs", json=spinning(await load(attacker, LOOP)))).json()["id"]
        statuses = []
        for _ in range(30):
            raw = await stack.enter_async_context(connection(daemon))
            await raw.say(request(f"GET /v1/jobs/{job}/events"))
            answer = await raw.answer()
            assert answer is not None
            statuses.append(answer.status)
        assert statuses == [200] * 10 + [429] * 20
        theirs = (await victim.post("/v1/jobs", json=spinning(await load(victim, LOOP)))).json()["id"]
        async with victim.stream("GET", f"/v1/jobs/{theirs}/events") as events:
            assert events.status_code == 200
        await victim.delete(f"/v1/jobs/{theirs}")
        await attacker.delete(f"/v1/jobs/{job}")
