"""A hundred `mul`s beside real neighbours.

One job sleeps, one floods stdout, one spins, one is parked in a host call, one grows its memory without end. The `mul`s
come one after the other, so that each is a caller's whole wait.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks import common
from benchmarks.common import GUESTS, Row, each_round, main, quantile
from wasmq import Limits, Scheduler

if TYPE_CHECKING:
    from wasmq import Module
    from wasmq.handles import JobHandle

MULS = 100
WORKERS = 2
TARGET_RATIO = 1 / 5
NEIGHBOURS = ("sleep", "flood", "spin", "parked", "grow")
LIMITS = Limits(fuel=10**12, timeout=3_000.0)


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    idle: list[float] = []
    beside: list[float] = []
    for _ in each_round("real neighbours", rounds):
        asyncio.run(_run(idle, beside))
    rows = [
        Row(
            measured=f"mul beside a sleeper, a flood, a spinner, a parked and a growing job, {name}",
            kind="seconds",
            ours=[quantile(beside, share)],
            peer=[quantile(idle, share)],
            peer_is="the same on an idle scheduler",
            target_ratio=TARGET_RATIO if name == "p99" else None,
        )
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    ]
    return rows, [f"{rounds} times {MULS} jobs, one after the other, {WORKERS} workers."]


async def _run(idle: list[float], beside: list[float]) -> None:
    async with Scheduler(config=common.config(), workers=WORKERS, grace=0) as scheduler:
        reached = asyncio.Event()

        @scheduler.host_function("env", "wait", tenants="*")
        async def wait() -> None:
            reached.set()
            await asyncio.Event().wait()

        mul = await scheduler.load(GUESTS / "mul.wat")
        guests = [await scheduler.load(GUESTS / "neighbours" / f"{name}.wat") for name in NEIGHBOURS]
        await _muls(scheduler, mul)
        idle += await _muls(scheduler, mul)
        neighbours = [await scheduler.submit(guest, "run", limits=LIMITS) for guest in guests]
        await reached.wait()
        beside += await _muls(scheduler, mul)
        await _check_alive(neighbours)


async def _muls(scheduler: Scheduler, mul: Module) -> list[float]:
    took = []
    for number in range(MULS):
        start = time.perf_counter()
        outcome = await scheduler.run(mul, "mul", number, 7)
        took.append(time.perf_counter() - start)
        if outcome.value != number * 7:
            raise RuntimeError(f"mul({number}, 7) gave {outcome.value}")
    return took


async def _check_alive(neighbours: list[JobHandle]) -> None:
    """See that the neighbours were there all the time, and end them."""
    for job in neighbours:
        if job.outcome is not None:
            raise RuntimeError(f"a neighbour ended early: {job.outcome.error}")
        await job.cancel()


if __name__ == "__main__":
    main("real_neighbours", measure, rounds=5)
