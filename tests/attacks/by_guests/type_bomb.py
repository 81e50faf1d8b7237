"""More types than a module may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, leb, refused, section

from wasmq.errors import InvalidModule

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It is invalid."""
    types = leb(1_000_001) + b"\x60\0\0" * 1_000_001
    await refused(scheduler, binary(section(1, types)), InvalidModule)
