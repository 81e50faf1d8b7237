"""Stderr without an end, sixty kilobytes at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start") (local $n i32) (local $at i32)
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 60000))
    (loop $l (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The cap is kept, the rest is paid for and thrown away."""
    outcome = await run(scheduler, MODULE)
    assert outcome.status == "out_of_fuel", outcome
    assert outcome.stderr_truncated
    assert len(outcome.stderr) == 64 * 2**10
