"""A loop with all the fuel in the world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import HANGING, run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (func (export "f") (loop $l (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The clock ends it."""
    outcome = await run(scheduler, MODULE, "f", limits=HANGING)
    assert outcome.status == "timed_out", outcome
