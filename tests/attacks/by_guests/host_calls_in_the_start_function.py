"""A host function, called without end before there is an instance."""

from __future__ import annotations

from arena import run

import wasmq

MODULE = """(module (import "env" "f" (func $f (param i32) (result i32))) (memory 1)
  (func $s (loop $l (drop (call $f (i32.load (i32.const 0)))) (br $l))) (start $s) (func (export "f")))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It ends at the limit of calls, as it does in any other function; what waits meanwhile waits for nobody."""
    calls = 0

    @scheduler.host_function("env", "f", tenants="attacker")
    async def called(number: int) -> int:
        nonlocal calls
        calls += 1
        return number

    limits = wasmq.Limits(fuel=20_000_000, timeout=30.0, memory="16MiB", host_calls=50)
    outcome = await run(scheduler, MODULE, "f", limits=limits)
    assert outcome.status == "trapped"
    assert calls == 50
