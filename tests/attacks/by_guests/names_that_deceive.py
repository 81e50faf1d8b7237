"""Function names with control characters, which show up in a backtrace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = r"""(module
  (func $x (@name "\1b[2J\0a\e2\80\ae") unreachable)
  (func (export "f") (call $x)))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """What is shown of them is printable."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "trapped", outcome
    assert outcome.trap is not None
    for line in outcome.trap.backtrace:
        assert line.name is None or line.name.isprintable()
