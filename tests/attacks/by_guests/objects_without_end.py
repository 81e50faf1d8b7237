"""Structs on the engine's heap, each of which holds the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arena import run

if TYPE_CHECKING:
    import wasmq


MODULE = """(module (type $node (struct (field (ref null $node)) (field i64)))
  (func (export "f") (local $list (ref null $node))
    (loop $l (local.set $list (struct.new $node (local.get $list) (i64.const 1))) (br $l))))"""


async def attack(scheduler: wasmq.Scheduler) -> None:
    """That heap counts against the cap."""
    outcome = await run(scheduler, MODULE, "f")
    assert outcome.status == "out_of_memory", outcome
