"""Another's idempotency key, given for one's own job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import client, load

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """A key is the tenant's own: the same one of two tenants names two jobs, and neither learns of the other's."""
    async with client(daemon) as attacker, client(daemon, "victim") as victim:
        job = {"module": await load(victim), "export": "sum", "args": [10], "key": "invoice-17"}
        await load(attacker)
        theirs = (await victim.post("/v1/jobs?wait=60", json=job)).json()
        for args, key in (([10], "invoice-17"), ([11], "invoice-17-b")):
            mine = await attacker.post("/v1/jobs?wait=60", json={**job, "args": args, "key": key})
            assert mine.status_code == 200
            assert mine.json()["id"] != theirs["id"]
            assert mine.json()["tenant"] == "attacker"
        again = (await victim.post("/v1/jobs?wait=60", json=job)).json()
        assert again["id"] == theirs["id"]
        assert (await victim.post("/v1/jobs", json={**job, "tenant": "attacker"})).status_code == 403
