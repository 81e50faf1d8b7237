"""More globals than a module may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, leb, refused, section

from wasmq.errors import InvalidModule

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It is invalid."""
    globals_ = leb(1_000_001) + b"\x7f\0\x41\0\x0b" * 1_000_001
    await refused(scheduler, binary(section(6, globals_)), InvalidModule)
