"""A memory with addresses of 64 bits, and accesses at the far end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (memory i64 1)
  (func (export "f") (result i64)
    (drop (memory.grow (i64.const 281474976710655)))
    (i64.load (i64.const -8))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The growth is refused, and there is nothing at the far end."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "out_of_memory", outcome
