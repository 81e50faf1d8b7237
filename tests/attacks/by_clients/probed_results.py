"""Another tenant's calls guessed: an answer that costs nothing would say that it has made the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clients import BEARER, client, load

if TYPE_CHECKING:
    import httpx
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """The attacker's call is run and paid as if nobody had made it, though the victim's answer to the same is kept."""
    async with client(daemon) as attacker, client(daemon, "victim") as victim:
        job = {"module": await load(victim), "export": "sum", "args": [1234], "reuse": "result"}
        assert await load(attacker) == job["module"]
        first, kept = await _outcome(victim, job), await _outcome(victim, job)
        assert (first["reused"], kept["reused"] is None, kept["fuel_used"]) == (None, False, 0)
        before = await _spent(daemon)
        guessed = await _outcome(attacker, job)
        assert (guessed["reused"], guessed["fuel_used"], guessed["fuel_saved"]) == (None, first["fuel_used"], 0)
        assert await _spent(daemon) == before + first["fuel_used"]


async def _outcome(of: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    answer = await of.post("/v1/jobs?wait=60", json=job)
    assert answer.status_code == 200, answer.text
    outcome: dict[str, Any] = answer.json()["outcome"]
    return outcome


async def _spent(daemon: Daemon) -> float:
    """Return the fuel that the attacker's jobs were charged."""
    async with client(daemon, "boss") as boss:
        text = (await boss.get("/metrics", headers=BEARER["boss"])).text
    label = 'wasmq_fuel_consumed_total{tenant="attacker"} '
    return sum(float(line.removeprefix(label)) for line in text.splitlines() if line.startswith(label))
