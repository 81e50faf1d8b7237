"""One write with a thousand vectors that all cover the whole memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start") (local $n i32) (local $at i32)
    (loop $v
      (i32.store (i32.mul (local.get $n) (i32.const 8)) (i32.const 0))
      (i32.store offset=4 (i32.mul (local.get $n) (i32.const 8)) (i32.const 262144))
      (br_if $v (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000))))
    (loop $l (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1000) (i32.const 9000))) (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """Each byte has its price before it is copied."""
    outcome = await run(scheduler, MODULE)
    assert outcome.status == "out_of_fuel", outcome
    assert outcome.stdout_truncated
