"""Recursion with as many locals as a frame can well have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = f"""(module (func $f (export "f") (result i64) (local {"i64 " * 200})
  (local.set 150 (call $f)) (i64.add (local.get 150) (local.get 199))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The stack ends, and the job with it."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.trap is not None
    assert outcome.trap.code == "stack_overflow"
