"""Growing a table until nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (table 1 funcref)
  (func (export "f") (result i32)
    (loop $l (br_if $l (i32.ne (table.grow (ref.null func) (i32.const 1000)) (i32.const -1))))
    (table.size)))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """A table has a bound of its own."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "succeeded", outcome
    assert outcome.value <= 100_000
