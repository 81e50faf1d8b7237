"""Two functions that return by calling each other: no stack is ever used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module
  (func $a (param i64) (return_call $b (i64.add (local.get 0) (i64.const 1))))
  (func $b (param i64) (return_call $a (local.get 0)))
  (func (export "f") (call $a (i64.const 0))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It ends at its limit."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "out_of_fuel", outcome
