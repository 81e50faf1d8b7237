"""A light tenant's short jobs beside another that submits a hundred times as much.

    python -m benchmarks.flooding

One caller of the light tenant asks for `mul` again and again, first alone, then while the other tenant keeps a
hundred times its load waiting: jobs of half a millisecond each. Once with as many workers as there are cores, which
the scheduler then has to share with them, and once with a core left for it.
"""

from __future__ import annotations

import asyncio
import os
import time

import wasmq
from benchmarks import common
from benchmarks.common import GUESTS, Row, each_round, main, quantile

ASKED = 400  # answers of the light tenant in one round
FLOOD = 100  # jobs of the other that wait or run, for the one of the light tenant
BURN = 2_000_000  # fuel of each
TARGET_RATIO = 1 / 3  # of its figure alone


async def _asked(scheduler: wasmq.Scheduler, mul: wasmq.Module) -> list[float]:
    seconds = []
    for _ in range(ASKED):
        started = time.perf_counter()
        await scheduler.run(mul, "mul", 2, 4, tenant="light")
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)


async def _flood(scheduler: wasmq.Scheduler, loop: wasmq.Module) -> None:
    async def caller() -> None:
        while True:
            await scheduler.run(loop, "burn", BURN, tenant="heavy")

    await asyncio.gather(*[caller() for _ in range(FLOOD)])


async def _round(workers: int) -> tuple[list[float], list[float]]:
    async with wasmq.Scheduler(config=common.config(), workers=workers) as scheduler:
        mul, loop = await scheduler.load(GUESTS / "mul.wat"), await scheduler.load(GUESTS / "loop.wat")
        await _asked(scheduler, mul)
        alone = await _asked(scheduler, mul)
        flood = asyncio.create_task(_flood(scheduler, loop))
        await asyncio.sleep(0.5)
        beside = await _asked(scheduler, mul)
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
    return alone, beside


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    """Return the light tenant's p50 and p99, alone and beside the flood."""
    cores = len(os.sched_getaffinity(0))
    sizes = sorted({max(1, cores - 1), cores})
    results: dict[int, list[tuple[list[float], list[float]]]] = {size: [] for size in sizes}
    for _ in each_round("flooding", rounds):
        for size in sizes:
            results[size].append(asyncio.run(_round(size)))
    rows = [
        Row(
            measured=f"`mul` beside another tenant's flood of 100 times the load, {_on(size)}, {name}",
            kind="seconds",
            ours=[quantile(beside, share) for _, beside in results[size]],
            peer=[quantile(alone, share) for alone, _ in results[size]],
            peer_is="alone",
            target_ratio=ratio,
        )
        for size in sizes
        for name, share, ratio in (("p50", 0.5, None), ("p99", 0.99, TARGET_RATIO))
    ]
    return rows, []


def _on(workers: int) -> str:
    return f"{workers} worker{'s' * (workers != 1)}"


if __name__ == "__main__":
    main("flooding", measure, rounds=5)
