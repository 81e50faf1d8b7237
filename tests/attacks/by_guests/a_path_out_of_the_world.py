"""Opening what is outside, by going up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 4)
  (data (i32.const 1024) "../../../../../../etc/passwd")
  (func (export "_start") (local $n i32) (local $at i32)
    (call $proc_exit (i32.ne (call $path_open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const 28) (i32.const 0)
      (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 512)) (i32.const 0)))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """There is no such file in its world."""
    outcome = await run(scheduler, MODULE)
    assert outcome.status == "exited", outcome
    assert outcome.exit_code == 1
