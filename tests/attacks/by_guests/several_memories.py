"""Many memories, each of which grows to the cap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MEMORIES = 40
GROW = " ".join(f"(drop (memory.grow {number} (i32.const 64)))" for number in range(MEMORIES))
MODULE = f"""(module {"(memory 0) " * MEMORIES} (func (export "f") (local $n i32)
  (loop $l {GROW} (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20))))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The cap holds for their sum."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "succeeded", outcome
    assert outcome.memory_peak == 16 * 2**20
