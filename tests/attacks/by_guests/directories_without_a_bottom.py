"""Making directories in directories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "path_create_directory"
    (func $path_create_directory (param i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start") (local $n i32) (local $at i32)
    (loop $fill
      (i32.store16 (i32.add (i32.const 1024) (local.get $n)) (i32.const 0x2f61))
      (br_if $fill (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 2))) (i32.const 20000))))
    (local.set $n (i32.const 1))
    (loop $l
      (drop (call $path_create_directory (i32.const 3) (i32.const 1024) (local.get $n)))
      (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 2))) (i32.const 20000))))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """There is a longest path."""
    outcome = await run(scheduler, MODULE)
    assert outcome.status == "succeeded", outcome
