"""Limits and arguments that are as large as numbers get."""

from __future__ import annotations

from arena import one_line

import wasmq
from wasmq.errors import Refused

MODULE = '(module (func (export "f") (param i32 f32) (result i32) (local.get 0)))'
HUGE = 10**400


async def attack(scheduler: wasmq.Scheduler) -> None:
    """Each is refused with one line."""
    module = await scheduler.load(MODULE)
    calls: list[tuple[tuple[object, ...], dict[str, object]]] = [
        ((HUGE, 1.0), {}),
        ((1, HUGE), {}),
        ((1, 1e300), {}),
        ((1, 1.0), {"limits": wasmq.Limits(fuel=HUGE)}),
        ((1, 1.0), {"limits": wasmq.Limits(memory=HUGE)}),
        ((1, 1.0), {"limits": wasmq.Limits(timeout=1e308)}),
        ((1, 1.0), {"limits": wasmq.Limits(fuel=-1)}),
        ((1, 1.0), {"priority": HUGE}),
        ((1, 1.0), {"delay": 1e308}),
        ((1, 1.0), {"key": "k" * 10_000}),
        ((1, 1.0), {"tenant": "\x1b[2J"}),
    ]
    for args, options in calls:
        try:
            await scheduler.submit(module, "f", *args, **{"tenant": "attacker", **options})  # type: ignore[arg-type]
        except Refused as error:
            one_line(str(error))
        else:
            raise AssertionError(f"{args} {options} was accepted")
