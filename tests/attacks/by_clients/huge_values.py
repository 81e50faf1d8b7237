"""Text as long as a body may be, in every field that a job has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from clients import MAX_BODY, client, load, post

if TYPE_CHECKING:
    from daemons import Daemon

_HUGE = "x" * (MAX_BODY - 1_000)


async def attack(daemon: Daemon) -> None:
    """Each is refused, and what is said of it is short; what a job may bring is taken, and comes back to nobody."""
    async with client(daemon) as attacker:
        digest = await load(attacker)
    many = {f"n{number}": digest for number in range(10_000)}
    fields: list[dict[str, Any]] = [
        {"module": _HUGE},
        {"export": _HUGE},
        {"args": [_HUGE]},
        {"args": [[_HUGE]]},
        {"tenant": _HUGE},
        {"key": _HUGE},
        {"link": {_HUGE: digest}},
        {"link": {"env": _HUGE}},
        {"link": many},
        {"grant": [_HUGE]},
        {"on_exhausted": _HUGE},
        {"reuse": _HUGE},
        {"priority": _HUGE},
        {"limits": {"memory": _HUGE}},
        {"limits": {_HUGE: 1}},
        {_HUGE: 1},
    ]
    for field in fields:
        job = {"module": digest, "export": "sum", "args": [1]} | field
        answer = await post(daemon, json.dumps(job).encode())
        assert 400 <= answer.status < 500, (list(field), answer.status)
        assert len(answer.body) < 2_000, list(field)
    for path in ("/v1/jobs?cursor=", "/v1/jobs?ids=", "/v1/modules/", "/v1/jobs/", "/v1/tenants/"):
        async with client(daemon) as attacker:
            answer_ = await attacker.get(path + "x" * 30_000)
        assert 400 <= answer_.status_code < 500 or answer_.json() == {"jobs": [], "cursor": None}, path
        assert len(answer_.content) < 2_000, path
