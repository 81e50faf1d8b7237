"""Megabytes of data segments that all go to the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """They are written, one after the other, and the job runs."""
    segment = '(data (i32.const 0) "' + "A" * 60_000 + '")'
    outcome = await run(scheduler, f'(module (memory 1) {segment * 100} (func (export "f")))', "f")
    assert outcome.status == "succeeded"
