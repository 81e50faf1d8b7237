"""An exception that leaves the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (tag $e (param i32))
  (func (export "f") (throw $e (i32.const 1))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It ends its own job."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "trapped", outcome
    assert outcome.trap is not None
