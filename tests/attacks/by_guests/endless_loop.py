"""A loop without an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (func (export "f") (loop $l (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It ends at its limit."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "out_of_fuel", outcome
    assert outcome.fuel_used == 20_000_000
