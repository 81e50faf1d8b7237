"""Growing a memory that may not grow, again and again: the host refuses each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import HANGING, run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (memory (export "memory") 1)
  (func (export "f") (loop $l (drop (memory.grow (i32.const 60000))) (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The clock ends it, and its turns get shorter meanwhile."""
    outcome = await run(scheduler, MODULE, "f", limits=HANGING)
    assert outcome.status == "timed_out", outcome
