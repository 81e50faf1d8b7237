"""A host function, called until the limit of calls, and its price."""

from __future__ import annotations

from arena import run

import wasmq

MODULE = """(module (import "env" "f" (func $f)) (func (export "f") (loop $l (call $f) (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """Each call is counted and paid for, and there is an end to them."""
    calls = 0

    @scheduler.host_function("env", "f", tenants="attacker", price=10, inline=True)
    def called() -> None:
        nonlocal calls
        calls += 1

    limits = wasmq.Limits(fuel=20_000_000, timeout=30.0, memory="16MiB", host_calls=200)
    outcome = await run(scheduler, MODULE, "f", limits=limits)
    assert outcome.status != "succeeded"
    assert calls == 200
