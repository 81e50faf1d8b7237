"""Recursion before anybody has called the module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module
  (func $f (result i32) (i32.add (call $f) (i32.const 1)))
  (func $s (drop (call $f)))
  (start $s)
  (func (export "f") (result i32) (i32.const 1)))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The stack ends, and the job with it."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "trapped", outcome
    assert outcome.trap is not None
    assert outcome.trap.code == "stack_overflow"
    assert len(outcome.trap.backtrace) < 1_000
