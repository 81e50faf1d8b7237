"""What the sandbox costs: jobs a second, WASI calls and the start of a worker, behind its walls and without them.

The peer is wasmq itself with every wall left out that can be. Both are measured in turns, each going first in every
other round, so that what else the machine does meets them alike.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec

from benchmarks import common
from benchmarks.common import GUESTS, Row, each_round, main, spread, workers_of
from benchmarks.driver import Worker
from wasmq import Config, Scheduler
from wasmq.config import SandboxConfig, WallName

if TYPE_CHECKING:
    from wasmq import Module

MAPPED = 20_000
STARTS = 3
HELD = 0.98
"""The least share of the throughput that must be left."""


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    return asyncio.run(_measure(rounds))


async def _measure(rounds: int) -> tuple[list[Row], list[str]]:
    configs = _configs()
    mapped: list[list[float]] = [[], []]
    spent: list[list[float]] = [[], []]
    workers: list[set[int]] = []
    starts: list[list[float]] = [[], []]
    async with AsyncExitStack() as stack:
        schedulers = []
        for config in configs:
            scheduler = Scheduler(config=config, workers=2, store="memory://")
            schedulers.append(await stack.enter_async_context(scheduler))
            workers.append(workers_of(os.getpid()) - set().union(*workers))
        modules = [await scheduler.load(GUESTS / "mul.wat") for scheduler in schedulers]
        for scheduler, module in zip(schedulers, modules, strict=True):
            await _map(scheduler, module)
        for number in each_round("sandbox", rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                before = _processor(workers[which])
                mapped[which].append(await _map(schedulers[which], modules[which]))
                spent[which].append((_processor(workers[which]) - before) / MAPPED)
    for number in range(rounds * STARTS):
        for which in (0, 1) if number % 2 else (1, 0):
            starts[which].append(_start(configs[which]))
    rows = [
        Row(
            measured="`map` behind the walls, two workers",
            kind="rate",
            ours=mapped[0],
            peer=mapped[1],
            peer_is="without",
            target_ratio=HELD,
        ),
        Row(
            measured="processor time of the workers, for each job",
            kind="seconds",
            ours=spent[0],
            peer=spent[1],
            peer_is="without",
            target_ratio=HELD,
        ),
        Row(
            measured="the start of a worker behind the walls",
            kind="seconds",
            ours=starts[0],
            peer=starts[1],
            peer_is="without",
        ),
        Row(
            measured="what the walls add to a worker's start",
            kind="seconds",
            ours=[ours - theirs for ours, theirs in zip(*starts, strict=True)],
            target=0.05,
        ),
    ]
    least, most = spread(*mapped)
    lean, dear = spread(*spent)
    interval = (
        f"Pair by pair, throughput behind the walls is {least:.3f} to {most:.3f} of that without, and a job's "
        f"processor time {lean:.3f} to {dear:.3f} (95 % bootstrap intervals of the median over {rounds} rounds): where "
        "an interval is wider than the target, more rounds are needed to tell."
    )
    note = (
        "Walls that no configuration leaves out (environment, descriptors, session, parent) stand on both sides. On a "
        "machine with other work, trust the processor time."
    )
    return rows, [interval, note]


def _configs() -> tuple[Config, Config]:
    """Return a configuration with the sandbox, and one without what of it can be left out."""
    config = common.config()
    bare = msgspec.structs.replace(config, sandbox=SandboxConfig(without=get_args(WallName)))
    return config, bare


async def _map(scheduler: Scheduler, module: Module) -> float:
    """Return jobs a second."""
    start = time.perf_counter()
    calls = ((number, 3) for number in range(MAPPED))
    values = [outcome.value async for outcome in scheduler.map(module, "mul", calls)]
    took = time.perf_counter() - start
    if values != [number * 3 for number in range(MAPPED)]:
        raise RuntimeError("a product is wrong")
    return MAPPED / took


def _processor(workers: set[int]) -> float:
    """Return the seconds that processes have run: what else the machine does is not in it."""
    return sum([int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) for pid in workers]) / 1e9


def _start(config: Config) -> float:
    worker = Worker(config)
    worker.close()
    return worker.ready_after


if __name__ == "__main__":
    main("sandbox", measure, rounds=9)
