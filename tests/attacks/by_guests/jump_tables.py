"""A jump table with ten thousand targets, in a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = f"""(module (func (export "f") (local i32)
  (loop $l (block $b (br_table {"1 " * 10_000} 0 (local.get 0))) (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It ends at its limit."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "out_of_fuel", outcome
