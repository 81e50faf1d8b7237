"""A throw and a catch, again and again: each exception is an object of the engine's heap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (tag $e (param i64))
  (func (export "f") (local i64)
    (loop $l
      (block $h (result i64)
        (try_table (catch $e $h) (throw $e (i64.const 7)))
        (unreachable))
      (local.set 0)
      (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It ends at its limit."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "out_of_fuel", outcome
