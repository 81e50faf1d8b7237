"""Sleeping until the end of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import HANGING, run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start") (local $n i32) (local $at i32)
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 9000000000000000000))
    (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The clock goes on for who sleeps."""
    outcome = await run(scheduler, MODULE, limits=HANGING)
    assert outcome.status == "timed_out", outcome
