"""Blocks in blocks, a hundred thousand deep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, leb, one_line, run, section

from wasmq.errors import InvalidModule

if TYPE_CHECKING:
    import wasmq

DEPTH = 100_000


async def attack(scheduler: wasmq.Scheduler) -> None:
    """The engine compiles it or the compile process ends; this process does neither."""
    code = b"\0" + b"\x02\x40" * DEPTH + b"\x0b" * DEPTH + b"\x0b"
    source = binary(
        section(1, b"\1\x60\0\0"),
        section(3, b"\1\0"),
        section(7, b"\1\1f\0\0"),
        section(10, b"\1" + leb(len(code)) + code),
    )
    try:
        outcome = await run(scheduler, source, "f")
    except InvalidModule as error:
        one_line(str(error))
    else:
        assert outcome.status == "succeeded"
