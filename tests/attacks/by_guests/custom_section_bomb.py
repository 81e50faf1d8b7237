"""A module that is nothing but thirty megabytes of custom sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, name, one_line, section

from wasmq.errors import UnknownExport

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """What is in them does not matter; the export that is not there does."""
    filler = section(0, name(b"name") + b"\xff" * 1_000_000)
    module = await scheduler.load(binary(*[filler] * 30))
    try:
        await scheduler.submit(module, "f", tenant="attacker")
    except UnknownExport as error:
        one_line(str(error))
    else:
        raise AssertionError("it was accepted")
