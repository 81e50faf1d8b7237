"""A hundred thousand imports, none of which anybody offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, name, one_line, section, vector

from wasmq.errors import UnsatisfiedImport

if TYPE_CHECKING:
    import wasmq

IMPORTS = 100_000


async def attack(scheduler: wasmq.Scheduler) -> None:
    """Submitting it is refused, in one line."""
    imports = [name(b"env") + name(f"f{number}".encode()) + b"\0\0" for number in range(IMPORTS)]
    module = await scheduler.load(binary(section(1, b"\1\x60\0\0"), section(2, vector(imports)), EXPORT))
    try:
        await scheduler.submit(module, "f", tenant="attacker")
    except UnsatisfiedImport as error:
        one_line(str(error))
    else:
        raise AssertionError("it was accepted")


EXPORT = section(7, vector([name(b"f") + b"\0\0"]))
