"""Every address around the end of memory, with every offset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (memory 1)
  (func (export "f") (result i64) (i64.load offset=4294967295 (i32.const -1))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It is a trap."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "trapped", outcome
    assert outcome.trap is not None
    assert outcome.trap.code == "memory_out_of_bounds"
