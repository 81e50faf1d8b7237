"""Two thousand jobs that want all they can get."""

from __future__ import annotations

import anyio

import wasmq

MODULE = """(module (func (export "f") (loop $l (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """They share what is left; the attacker gives up, and they are cancelled."""
    module = await scheduler.load(MODULE)
    requests = [wasmq.Request(module=module.digest, export="f", tenant="attacker") for _ in range(2_000)]
    jobs = await scheduler.submit_many(requests)
    with anyio.move_on_after(1.0):
        await jobs[0]
    for job in jobs:
        await job.cancel()
    assert {(await job).status for job in jobs} <= {"cancelled", "out_of_fuel", "timed_out"}
