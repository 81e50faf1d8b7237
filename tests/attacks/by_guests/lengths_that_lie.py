"""Sections and vectors that say that they are longer than the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, leb, refused, section

from wasmq.errors import InvalidModule

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """They are invalid."""
    for number in range(13):
        for length in (2**31, 2**32 - 1):
            await refused(scheduler, binary(bytes([number]) + leb(length)), InvalidModule)
            await refused(scheduler, binary(section(number, leb(length))), InvalidModule)
