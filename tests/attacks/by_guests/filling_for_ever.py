"""One instruction that fills the whole memory, in a loop: fuel does not weigh its length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import HANGING, run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (memory 256)
  (func (export "f") (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 16777216)) (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The clock ends it."""
    outcome = await run(scheduler, MODULE, "f", limits=HANGING)
    assert outcome.status == "timed_out", outcome
