"""Functions that call each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module
  (func $a (export "f") (result i32) (i32.add (call $b) (i32.const 1)))
  (func $b (result i32) (i32.add (call $a) (i32.const 1))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The stack ends, and the job with it."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "trapped", outcome
    assert outcome.trap is not None
    assert outcome.trap.code == "stack_overflow"
    assert len(outcome.trap.backtrace) < 1_000
