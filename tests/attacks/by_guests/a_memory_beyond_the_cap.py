"""A memory that is four gigabytes from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (memory 65536) (func (export "f")))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It never comes to be."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "out_of_memory", outcome
