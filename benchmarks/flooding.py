"""A light tenant's short jobs beside another that submits a hundred times as much.

    python -m benchmarks.flooding

One caller of the light tenant asks for `mul` again and again, first alone, then while the other tenant keeps a
hundred times its load waiting: jobs of half a millisecond each. Once with a core left for the scheduler, and twice with
as many workers as there are cores: standing back by default, and as far as they can (`[scheduler] niceness`).
"""

from __future__ import annotations

import asyncio
import os
import time

import msgspec

import wasmq
from benchmarks import common
from benchmarks.common import GUESTS, Row, each_round, main, quantile
from wasmq.config import SchedulerConfig

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


async def _round(workers: int, niceness: int) -> tuple[list[float], list[float]]:
    config = common.config()
    config = msgspec.structs.replace(config, scheduler=msgspec.structs.replace(config.scheduler, niceness=niceness))
    async with wasmq.Scheduler(config=config, workers=workers) as scheduler:
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
    """Return the light tenant's p50 and p99, alone and beside the flood, in each of the `_settings`."""
    results: dict[tuple[int, int], list[tuple[list[float], list[float]]]] = {each: [] for each in _settings()}
    for _ in each_round("flooding", rounds):
        for each, measured in results.items():
            measured.append(asyncio.run(_round(*each)))
    rows = [
        Row(
            measured=f"`mul` beside a flood of 100 times the load, {workers} workers at {niceness}, {name}",
            kind="seconds",
            ours=[quantile(beside, share) for _, beside in measured],
            peer=[quantile(alone, share) for alone, _ in measured],
            peer_is="alone",
            target_ratio=ratio,
        )
        for (workers, niceness), measured in results.items()
        for name, share, ratio in (("p50", 0.5, None), ("p99", 0.99, TARGET_RATIO))
    ]
    return rows, []


def _settings() -> list[tuple[int, int]]:
    """Return workers and their niceness."""
    cores, usual = len(os.sched_getaffinity(0)), SchedulerConfig().niceness
    return [(max(1, cores - 1), usual), (cores, usual), (cores, 19)]


if __name__ == "__main__":
    main("flooding", measure, rounds=5)
