"""Fifty thousand functions in one module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, leb, run, section

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """They are compiled."""
    body = leb(2) + b"\0\x0b"
    source = binary(
        section(1, b"\1\x60\0\0"),
        section(3, leb(50_000) + b"\0" * 50_000),
        section(7, b"\1\1f\0\0"),
        section(10, leb(50_000) + body * 50_000),
    )
    outcome = await run(scheduler, source, "f")
    assert outcome.status == "succeeded"
