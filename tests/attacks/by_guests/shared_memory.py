"""A shared memory and a wait on it, which would block the thread of everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import refused

from wasmq.errors import InvalidModule

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """There are no threads, so it is invalid."""
    source = """(module (memory 1 1 shared)
      (func (export "f") (result i32) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))"""
    await refused(scheduler, source, InvalidModule)
