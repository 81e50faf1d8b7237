"""Arguments and an environment of more bytes than a job may bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import one_line

from wasmq.errors import Refused

if TYPE_CHECKING:
    import wasmq

MODULE = '(module (memory (export "memory") 1) (func (export "_start")))'


async def attack(scheduler: wasmq.Scheduler) -> None:
    """They are refused before anything is queued."""
    module = await scheduler.load(MODULE)
    for world in ({"argv": ["x" * 2**20] * 20}, {"env": {f"K{number}": "x" * 2**20 for number in range(20)}}):
        try:
            await scheduler.submit(module, tenant="attacker", **world)  # type: ignore[arg-type]
        except Refused as error:
            one_line(str(error))
        else:
            raise AssertionError("it was accepted")
