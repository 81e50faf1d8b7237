"""Arguments that make a host function raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq

MODULE = """(module (import "env" "divide" (func $f (param i32) (result i32)))
  (func (export "f") (result i32) (call $f (i32.const 0))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The job ends, and nothing of the program's is told but one line."""

    @scheduler.host_function("env", "divide", tenants="attacker", inline=True)
    def divide(number: int) -> int:
        return 1 // number

    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "trapped"
