"""An export whose name is a megabyte of control characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, name, one_line, section, vector

from wasmq.errors import InvalidModule, UnknownExport

if TYPE_CHECKING:
    import wasmq


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It is refused, or shown shortened and printable."""
    exports = vector([name(b"\x1b[2J\n" * 200_000) + b"\0\0"])
    source = binary(section(1, b"\1\x60\0\0"), section(3, b"\1\0"), section(7, exports), section(10, b"\1\2\0\x0b"))
    try:
        module = await scheduler.load(source)
        await scheduler.submit(module, "nothing", tenant="attacker")
    except (InvalidModule, UnknownExport) as error:
        one_line(str(error))
    else:
        raise AssertionError("it was accepted")
