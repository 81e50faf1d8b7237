"""Calls that do nothing but cost the host a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
  (memory (export "memory") 4)
  (func (export "_start") (local $n i32) (local $at i32)
    (loop $l (drop (call $sched_yield)) (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It ends at its limit."""
    outcome = await run(scheduler, MODULE)
    assert outcome.status == "out_of_fuel", outcome
    assert outcome.fuel_used == 20_000_000
