"""A light tenant's short jobs beside another that submits a hundred times as much.

    python -m benchmarks.flooding

One caller of the light tenant asks for `mul` again and again, first alone, then while the other tenant keeps a
hundred times its load waiting: jobs of some milliseconds each, on as many workers as there are cores.
"""

from __future__ import annotations

import asyncio
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


async def _round() -> tuple[list[float], list[float]]:
    async with wasmq.Scheduler(config=common.config()) as scheduler:
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
    results = [asyncio.run(_round()) for _ in each_round("flooding", rounds)]
    rows = []
    for name, share, ratio in (("p50", 0.5, None), ("p99", 0.99, TARGET_RATIO)):
        rows.append(
            Row(
                measured=f"`mul` of a light tenant beside a flood of 100 times its load, {name}",
                kind="seconds",
                ours=[quantile(beside, share) for _, beside in results],
                peer=[quantile(alone, share) for alone, _ in results],
                peer_is="alone",
                target_ratio=ratio,
            )
        )
    return rows, []


if __name__ == "__main__":
    main("flooding", measure, rounds=5)
