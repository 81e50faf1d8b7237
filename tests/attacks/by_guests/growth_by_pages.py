"""Growing by one page until the cap, then writing to every page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (memory 1)
  (func (export "f") (result i32) (local $p i32)
    (loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (loop $touch
      (i32.store (local.get $p) (i32.const 1))
      (local.set $p (i32.add (local.get $p) (i32.const 4096)))
      (br_if $touch (i32.lt_u (local.get $p) (i32.mul (memory.size) (i32.const 65536)))))
    (memory.size)))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It gets its cap and no page more."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "succeeded", outcome
    assert outcome.value == 256
    assert outcome.memory_peak == 16 * 2**20
