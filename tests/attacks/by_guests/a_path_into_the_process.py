"""Opening the worker's own memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import opening, run

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """There is no such file in its world."""
    outcome = await run(scheduler, opening("proc/self/mem"))
    assert outcome.status == "exited", outcome
    assert outcome.exit_code == 1
