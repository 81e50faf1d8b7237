"""A table with four billion elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import one_line, run

from wasmq.errors import InvalidModule

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It is refused, or the instance never comes to be."""
    source = '(module (table 4294967295 funcref) (func (export "f")))'
    try:
        outcome = await run(scheduler, source, "f")
    except InvalidModule as error:
        one_line(str(error))
    else:
        assert outcome.status in ("out_of_memory", "trapped")
