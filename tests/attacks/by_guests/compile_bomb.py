"""A function that is a million additions in one expression."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, leb, one_line, run, section

from wasmq.errors import InvalidModule

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """Compiling takes its time in a process of its own, within its limits of time and memory."""
    code = b"\0\x20\0" + b"\x20\0\x6a" * 300_000 + b"\x0b"
    source = binary(
        section(1, b"\1\x60\1\x7f\1\x7f"),
        section(3, b"\1\0"),
        section(7, b"\1\1f\0\0"),
        section(10, b"\1" + leb(len(code)) + code),
    )
    try:
        outcome = await run(scheduler, source, "f", 1)
    except InvalidModule as error:
        one_line(str(error))
    else:
        assert outcome.value == 300_001
