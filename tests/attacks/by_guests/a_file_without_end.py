"""Writing at the far end of a file that is to be enormous."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pwrite" (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $fd_filestat_set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 4)
  (data (i32.const 1024) "big")
  (func (export "_start") (local $n i32) (local $at i32)
    (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1)
      (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 512)))
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 10))
    (local.set $n (call $fd_filestat_set_size (i32.load (i32.const 512)) (i64.const 9000000000000000000)))
    (local.set $at (call $fd_pwrite (i32.load (i32.const 512)) (i32.const 0) (i32.const 1)
      (i64.const 9000000000000000000) (i32.const 8)))
    (call $proc_exit (i32.and (i32.ne (local.get $n) (i32.const 0)) (i32.ne (local.get $at) (i32.const 0))))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """Both are refused."""
    outcome = await run(scheduler, MODULE)
    assert outcome.status == "exited", outcome
    assert outcome.exit_code == 1
