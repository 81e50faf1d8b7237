"""Short jobs beside hogs: 1 % of the jobs burn about a second each, and the others are a `mul`.

The same mix goes through wasmq as it is, and through the same engine first in, first out: with one instance in each
worker and no slices, so that a job runs to its end before the next one begins. Each way gets the jobs once as an open
loop, at random moments that do not wait for anybody's answer, and once all in one burst.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import msgspec

from benchmarks import common, plot
from benchmarks.common import GUESTS, RESULTS, Row, each_round, figure, main, quantile
from wasmq import Limits, Request, Scheduler

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from wasmq import Module, Outcome

WORKERS = 2
JOBS, HOGS = 2_000, 20
SPREAD = 4.0  # seconds over which the open loop's jobs come
HOG_SECONDS = 1.0
PROBE, PROBES = 10**9, 10  # fuel that the calibration burns, and how often
NO_SLICES = 10**9  # fuel: the longest quantum there is
LIMITS = Limits(fuel=10**11, timeout=600.0)  # the hogs share two cores, and take their time
TARGET = 20e-3


class Latencies(msgspec.Struct):
    """Seconds from a job's moment to its outcome, of the short jobs, for one way to run them."""

    spread: list[float] = []
    burst: list[float] = []
    all_done: list[float] = []
    """Seconds until the hogs of the burst are done too, for each time."""


class Mix:
    """The jobs in the order in which they come, the same for every way to run them."""

    def __init__(self, mul: Module, loop: Module, burn: int) -> None:
        rng = random.Random(20)
        hogs = set(rng.sample(range(JOBS), HOGS))
        self.moments = sorted(rng.uniform(0.0, SPREAD) for _ in range(JOBS))
        self.requests = [
            Request(module=loop.digest, export="burn", args=(burn,), limits=LIMITS)
            if number in hogs
            else Request(module=mul.digest, export="mul", args=(number, 7), limits=LIMITS)
            for number in range(JOBS)
        ]


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    ours, fifo, calm = Latencies(), Latencies(), Latencies()
    calibrated = asyncio.run(_calibrate())
    for _ in each_round("neighbours", rounds):
        asyncio.run(_run(ours, calibrated))
        asyncio.run(_run(fifo, calibrated, instances=1, quantum=NO_SLICES))
        asyncio.run(_run(calm, 0))
    plot.latencies(
        RESULTS / "neighbours.svg",
        {"wasmq": ours.spread, "first in, first out": fifo.spread},
        title="What a short job waits while 1 % of the jobs burn a second each, two workers",
    )
    rows = []
    for way, took, peer in (("open loop", ours.spread, fifo.spread), ("one burst", ours.burst, fifo.burst)):
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            rows.append(
                Row(
                    measured=f"short job beside hogs, {way}, {name}",
                    kind="seconds",
                    ours=[quantile(took, share)],
                    peer=[quantile(peer, share)],
                    peer_is="first in, first out",
                    target=TARGET if (way, name) == ("open loop", "p99") else None,
                )
            )
    rows.append(
        Row(
            measured="the same burst until the hogs are done too",
            kind="seconds",
            ours=ours.all_done,
            peer=fifo.all_done,
            peer_is="first in, first out",
        )
    )
    spread, burst = (1e3 * quantile(took, 0.99) for took in (calm.spread, calm.burst))
    note = (
        f"{JOBS} jobs, {HOGS} of which burn {figure(calibrated, 'fuel')} fuel each. With nothing to burn the p99 of "
        f"the short ones is {spread:.1f} ms in the open loop and {burst:.0f} ms in the burst, where the last of them "
        "waits for all the others anyway."
    )
    return rows, [note]


async def _calibrate() -> int:
    """Return the fuel that one job burns in about `HOG_SECONDS` with a worker of its own."""
    async with Scheduler(config=common.config(), workers=1) as scheduler:
        loop = await scheduler.load(GUESTS / "loop.wat")
        took = [(await scheduler.run(loop, "burn", PROBE, limits=LIMITS)).ran for _ in range(PROBES)]
    # The shortest is the one that nothing else on the machine disturbed.
    return round(PROBE * HOG_SECONDS / min(took))


async def _run(into: Latencies, burn: int, *, instances: int | None = None, quantum: int | None = None) -> None:
    """Run the mix in both ways and add what the short jobs took."""
    async with Scheduler(config=common.config(), workers=WORKERS, instances=instances, quantum=quantum) as scheduler:
        mul, loop = [await scheduler.load(GUESTS / name) for name in ("mul.wat", "loop.wat")]
        mix = Mix(mul, loop, burn)
        for module, export, args in ((mul, "mul", (2, 4)), (loop, "burn", (0,))):
            async for _ in scheduler.map(module, export, [args] * 100):
                pass
        into.spread += await _open_loop(scheduler, mix)
        start = time.perf_counter()
        into.burst += await _burst(scheduler, mix)
        into.all_done.append(time.perf_counter() - start)


async def _open_loop(scheduler: Scheduler, mix: Mix) -> list[float]:
    took: list[float] = []

    async def one(request: Request, moment: float) -> None:
        (handle,) = await scheduler.submit_many([request])
        await _finish(request, handle, moment, took)

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for request, moment in zip(mix.requests, mix.moments, strict=True):
            # From the moment it was meant to come: that this loop is late is part of what a job waits.
            await asyncio.sleep(max(0.0, start + moment - time.perf_counter()))
            tasks.create_task(one(request, start + moment))
    return took


async def _burst(scheduler: Scheduler, mix: Mix) -> list[float]:
    took: list[float] = []
    start = time.perf_counter()
    handles = await scheduler.submit_many(mix.requests)
    async with asyncio.TaskGroup() as tasks:
        for request, handle in zip(mix.requests, handles, strict=True):
            tasks.create_task(_finish(request, handle, start, took))
    return took


async def _finish(request: Request, handle: Awaitable[Outcome], start: float, took: list[float]) -> None:
    outcome = await handle
    seconds = time.perf_counter() - start
    if outcome.status != "succeeded":
        raise RuntimeError(f"{request.export}: {outcome.error}")
    if request.export == "mul":
        took.append(seconds)


if __name__ == "__main__":
    main("neighbours", measure, rounds=1)
