"""The same through a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (type $t (func))
  (table 1 funcref) (elem (i32.const 0) $a)
  (func $a (return_call_indirect (type $t) (i32.const 0)))
  (func (export "f") (call $a)))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It ends at its limit."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "out_of_fuel", outcome
