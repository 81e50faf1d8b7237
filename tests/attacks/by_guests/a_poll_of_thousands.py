"""Polling thousands of subscriptions at once, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start") (local $n i32) (local $at i32)
    (loop $l
      (drop (call $poll_oneoff (i32.const 0) (i32.const 131072) (i32.const 2000) (i32.const 262000)))
      (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It ends at its limit."""
    outcome = await run(scheduler, MODULE)
    assert outcome.status == "out_of_fuel", outcome
