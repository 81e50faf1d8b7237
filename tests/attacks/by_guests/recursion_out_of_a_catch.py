"""Recursion that catches the end of its stack and starts again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (tag $e)
  (func $deep (call $deep))
  (func (export "f") (loop $l (block $h (try_table (catch_all $h) (call $deep))) (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """A trap is no exception: nothing catches it."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "trapped", outcome
    assert outcome.trap is not None
