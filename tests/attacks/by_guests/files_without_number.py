"""Making files until there are no more to be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start") (local $n i32) (local $at i32)
    (loop $l
      (i32.store (i32.const 1024) (i32.add (i32.const 0x61616161) (i32.and (local.get $n) (i32.const 0x0f0f0f0f))))
      (i32.store8 (i32.const 1028) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 70))))
      (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 5) (i32.const 1)
        (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 512)))
      (local.set $n (i32.add (local.get $n) (i32.const 7919)))
      (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """Each costs, and there is a quota."""
    outcome = await run(scheduler, MODULE)
    assert outcome.status == "out_of_fuel", outcome
