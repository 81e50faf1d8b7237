"""Opening what is outside, by going up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import opening, run

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """There is no such file in its world."""
    outcome = await run(scheduler, opening("../../../../../../etc/passwd"))
    assert outcome.status == "exited", outcome
    assert outcome.exit_code == 1
