"""More jobs in one request than are taken in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import client, load

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """All are refused, and none is queued; a batch of no jobs is harmless too."""
    async with client(daemon) as attacker:
        job = {"module": await load(attacker), "export": "sum", "args": [1]}
        assert (await attacker.post("/v1/jobs", json=[job] * 101)).status_code == 422
        assert (await attacker.post("/v1/jobs", json=[{}] * 100_000)).status_code in (413, 422)
        assert (await attacker.post("/v1/jobs", json=[])).status_code < 500
        assert (await attacker.get("/v1/jobs", params={"ids": ",".join(["x"] * 1_001)})).status_code in (400, 431)
        assert (await attacker.get("/v1/jobs")).json()["jobs"] == []
