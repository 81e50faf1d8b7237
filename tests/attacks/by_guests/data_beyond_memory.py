"""A data segment that does not fit its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It is a trap before the first instruction."""
    outcome = await run(scheduler, '(module (memory 1) (data (i32.const 65535) "ab") (func (export "f")))', "f")
    assert outcome.status == "trapped"
