"""Ids of jobs that are another's, or nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import LOOP, client, load, spinning

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """Whatever is asked of another's job, the answer is the one for a job that never was."""
    async with client(daemon) as attacker, client(daemon, "victim") as victim:
        job = (await victim.post("/v1/jobs", json=spinning(await load(victim, LOOP)))).json()["id"]
        nobody = job[:-1] + ("0" if job[-1] != "0" else "1")
        for method, path in (
            ("GET", "/v1/jobs/{}"),
            ("GET", "/v1/jobs/{}?wait=1"),
            ("GET", "/v1/jobs/{}/events"),
            ("DELETE", "/v1/jobs/{}"),
            ("POST", "/v1/jobs/{}/requeue"),
            ("POST", "/v1/jobs/{}/refuel"),
            ("POST", "/v1/jobs/{}/replay"),
            ("GET", "/v1/jobs/{}/call"),
            ("GET", "/v1/jobs?cursor={}"),
            ("GET", "/v1/jobs?ids={}"),
        ):
            content = b'{"fuel":1}' if path.endswith("refuel") else None
            theirs = await attacker.request(method, path.format(job), content=content)
            none = await attacker.request(method, path.format(nobody), content=content)
            assert (theirs.status_code, theirs.text) == (none.status_code, none.text.replace(nobody, job)), path
        assert (await victim.get(f"/v1/jobs/{job}")).json()["outcome"] is None
        await victim.delete(f"/v1/jobs/{job}")
