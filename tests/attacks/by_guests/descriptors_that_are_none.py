"""Reading, closing and renumbering descriptors that nobody handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start") (local $n i32) (local $at i32)
    (loop $l
      (drop (call $fd_close (i32.mul (local.get $n) (i32.const 97))))
      (drop (call $fd_renumber (local.get $n) (i32.const 2147483647)))
      (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000))))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """They are not the process's own."""
    outcome = await run(scheduler, MODULE)
    assert outcome.status == "succeeded", outcome
