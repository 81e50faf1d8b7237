"""A function that declares four billion locals in five bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, leb, refused, section

from wasmq.errors import InvalidModule

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It is invalid."""
    body = b"\1" + leb(2**32 - 1) + b"\x7f\x0b"
    source = binary(section(1, b"\1\x60\0\0"), section(3, b"\1\0"), section(10, b"\1" + leb(len(body)) + body))
    await refused(scheduler, source, InvalidModule)
