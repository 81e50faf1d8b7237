"""Digests of modules that another tenant has loaded, tried wherever a digest can stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import SUM, client, load

if TYPE_CHECKING:
    import httpx
    from daemons import Daemon

_SECRET = '(module (func (export "sum") (param i32) (result i32) (i32.const 4711)))'
_NOBODY = "0" * 64


async def attack(daemon: Daemon) -> None:
    """Each is answered as a digest of nobody's is, to the byte; the victim goes on using its module."""
    async with client(daemon) as attacker, client(daemon, "victim") as victim:
        secret, own = await load(victim, _SECRET), await load(attacker, SUM)
        for theirs, none in zip(await _asked(attacker, secret, own), await _asked(attacker, _NOBODY, own), strict=True):
            assert theirs.status_code == none.status_code == 404, theirs.text
            assert (theirs.text, theirs.headers) == (none.text.replace(_NOBODY, secret), none.headers)
        assert (await attacker.get("/v1/jobs")).json()["jobs"] == []
        job = {"module": secret, "export": "sum", "args": [1]}
        assert (await victim.post("/v1/jobs?wait=60", json=job)).json()["outcome"]["value"] == 4711


async def _asked(attacker: httpx.AsyncClient, digest: str, own: str) -> list[httpx.Response]:
    call = {"module": digest, "export": "sum", "args": [1]}
    linked = {"module": own, "export": "sum", "args": [1], "link": {"env": digest}}
    bodies = (
        call,
        [call],
        {**call, "args": []},
        {**call, "reuse": "result"},
        linked,
        [linked],
        [{**linked, "link": {}}, call],
    )
    return [
        await attacker.get(f"/v1/modules/{digest}"),
        await attacker.get(f"/v1/modules/{digest}/estimate?export=sum"),
        await attacker.post("/v1/jobs?wait=1", json={**call, "key": "probe"}),
        *[await attacker.post("/v1/jobs", json=body) for body in bodies],
    ]
