"""A thousand jobs, each cancelled as soon as it is accepted."""

from __future__ import annotations

import wasmq

MODULE = """(module (func (export "f") (loop $l (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """Each ends as cancelled."""
    module = await scheduler.load(MODULE)
    for _ in range(10):
        requests = [wasmq.Request(module=module.digest, export="f", tenant="attacker") for _ in range(100)]
        jobs = await scheduler.submit_many(requests)
        for job in jobs:
            await job.cancel()
        assert {(await job).status for job in jobs} == {"cancelled"}
