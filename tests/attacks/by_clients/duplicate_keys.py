"""Objects that say a thing twice, so that two readers would see two things."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import client, load, post

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """Whichever counts, it counts for all: who says another's name, first or last, is never heard in it."""
    async with client(daemon) as attacker:
        digest = await load(attacker)
        for names in (("attacker", "victim"), ("victim", "attacker")):
            tenants = ",".join(f'"tenant":"{name}"' for name in names)
            answer = await post(daemon, f'{{"module":"{digest}","export":"sum","args":[1],{tenants}}}'.encode())
            assert answer.status in (202, 400, 403, 422), answer
            assert b'"tenant":"victim"' not in answer.body
        jobs = (await attacker.get("/v1/jobs")).json()["jobs"]
        assert {job["tenant"] for job in jobs} <= {"attacker"}
