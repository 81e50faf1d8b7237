"""One array of two gigabytes on the engine's heap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (type $bytes (array (mut i8)))
  (func (export "f") (result i32) (array.len (array.new $bytes (i32.const 1) (i32.const 2147483647)))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """That heap counts against the cap."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "out_of_memory", outcome
