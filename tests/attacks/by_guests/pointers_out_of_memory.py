"""Every pointer that is handed to the host points outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 4)
  (func (export "_start") (local $n i32) (local $at i32)
    (local.set $n (call $fd_write (i32.const 1) (i32.const -8) (i32.const 1) (i32.const 8)))
    (local.set $at (call $fd_write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8)))
    (call $proc_exit (i32.and
      (i32.and (i32.ne (local.get $n) (i32.const 0)) (i32.ne (local.get $at) (i32.const 0)))
      (i32.and (i32.ne (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 262144)) (i32.const 0))
        (i32.ne (call $environ_sizes_get (i32.const -4) (i32.const 0)) (i32.const 0)))))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The host looks before it touches."""
    outcome = await run(scheduler, MODULE)
    assert outcome.status == "exited", outcome
    assert outcome.exit_code == 1
