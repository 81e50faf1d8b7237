"""Importing a host function that is granted to the victim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import one_line, run

from wasmq.errors import UnsatisfiedImport

if TYPE_CHECKING:
    import wasmq

MODULE = """(module (import "env" "secret" (func $f (result i32))) (func (export "f") (result i32) (call $f)))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """It is refused at the door."""

    @scheduler.host_function("env", "secret", tenants="victim", inline=True)
    def secret() -> int:
        return 42

    try:
        await run(scheduler, MODULE, "f")
    except UnsatisfiedImport as error:
        one_line(str(error))
    else:
        raise AssertionError("it was accepted")
