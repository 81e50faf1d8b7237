"""Traps of every arithmetic kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (func (export "f") (result i32) (i32.div_s (i32.const -2147483648) (i32.const -1))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """A signal of the processor ends the job, not the worker."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "trapped", outcome
    assert outcome.trap is not None
    assert outcome.trap.code == "integer_overflow"
