"""A function with a thousand results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


VALUES = tuple(range(1_000))
MODULE = f"""(module (func (export "f") (result {"i64 " * len(VALUES)})
  {" ".join(f"(i64.const {value})" for value in VALUES)}))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """They come back."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.value == VALUES
