"""A hundred thousand imports, none of which anybody offers; and as many as there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import binary, name, one_line, section, vector

from wasmq.errors import InvalidModule, UnsatisfiedImport
from wasmq_worker.protocol import MAX_EXTERNS

if TYPE_CHECKING:
    import wasmq

IMPORTS = 100_000


async def attack(scheduler: wasmq.Scheduler) -> None:
    """Loading them is refused; of as many as can be loaded, submitting is: each in one line."""
    try:
        await scheduler.load(_importing(IMPORTS))
    except InvalidModule as error:
        one_line(str(error))
    else:
        raise AssertionError("it was loaded")
    module = await scheduler.load(_importing(MAX_EXTERNS - 1))
    try:
        await scheduler.submit(module, "f", tenant="attacker")
    except UnsatisfiedImport as error:
        one_line(str(error))
    else:
        raise AssertionError("it was accepted")


def _importing(number: int) -> bytes:
    imports = [name(b"env") + name(f"f{each}".encode()) + b"\0\0" for each in range(number)]
    return binary(section(1, b"\1\x60\0\0"), section(2, vector(imports)), EXPORT)


EXPORT = section(7, vector([name(b"f") + b"\0\0"]))
