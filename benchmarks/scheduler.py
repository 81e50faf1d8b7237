"""Scheduler and two workers together: jobs a second, and how long one job takes when nothing else runs.

The peer is `ProcessPoolExecutor(2)`, in which each call makes a fresh store and instance with the wasmtime package's
public classes, under the same fuel and memory limits. A limit of time is something that it cannot have.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from benchmarks import common, peer_pool
from benchmarks.common import GUESTS, Row, each_round, main, quantile
from wasmq import Scheduler

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

WORKERS = 2
MAPPED, PEER_MAPPED = 20_000, 4_000
CALLERS = 1_000
CALLS, PEER_CALLS = 10, 3  # of each caller
CHUNKS = (32, 256)
ALONE = 1_000

Call: TypeAlias = Callable[[int, int], Awaitable[int]]


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    path = GUESTS / "mul.wat"
    pool = peer_pool.executor(WORKERS, path, "mul")
    try:
        return asyncio.run(_measure(rounds, pool))
    finally:
        pool.shutdown()


async def _measure(rounds: int, pool: ProcessPoolExecutor) -> tuple[list[Row], list[str]]:
    loop = asyncio.get_running_loop()
    mapped: list[float] = []
    single: list[float] = []
    chunked: dict[int, list[float]] = {size: [] for size in CHUNKS}
    concurrent: list[float] = []
    peer_concurrent: list[float] = []
    alone: list[list[float]] = []
    peer_alone: list[list[float]] = []
    async with Scheduler(config=common.config(), workers=WORKERS, store="memory://") as scheduler:
        module = await scheduler.load(GUESTS / "mul.wat")

        async def run(a: int, b: int) -> int:
            outcome = await scheduler.run(module, "mul", a, b)
            return int(outcome.value)

        async def peer_run(a: int, b: int) -> int:
            return await loop.run_in_executor(pool, peer_pool.call, a, b)

        await _callers(run, 1)
        await _callers(peer_run, 1)
        for _ in each_round("scheduler", rounds):
            start = time.perf_counter()
            _check([outcome.value async for outcome in scheduler.map(module, "mul", _calls(MAPPED))])
            mapped.append(MAPPED / (time.perf_counter() - start))
            # Nothing else is on this loop meanwhile: the peer's own driving blocks, and is given the whole thread.
            single.append(_peer_map(pool, PEER_MAPPED, 1))
            for size in CHUNKS:
                chunked[size].append(_peer_map(pool, MAPPED, size))
            concurrent.append(await _callers(run, CALLS))
            peer_concurrent.append(await _callers(peer_run, PEER_CALLS))
            alone.append(await _alone(run))
            peer_alone.append(await _alone(peer_run))
    best = max(CHUNKS, key=lambda size: quantile(chunked[size], 0.5))
    rows = [
        Row(
            measured="`map`, two workers",
            kind="rate",
            ours=mapped,
            peer=single,
            peer_is="`executor.map`",
            target=15_000,
            target_ratio=5,
        ),
        Row(
            measured="`map`, against whole chunks for the peer",
            kind="rate",
            ours=mapped,
            peer=chunked[best],
            peer_is=f"`executor.map`, `chunksize={best}`",
        ),
        Row(
            measured=f"`run` by {CALLERS:,} callers at once".replace(",", " "),
            kind="rate",
            ours=concurrent,
            peer=peer_concurrent,
            peer_is="`run_in_executor`",
            target=10_000,
            target_ratio=5,
        ),
        *[
            Row(
                measured=f"one `run`, idle, {name}",
                kind="seconds",
                ours=[quantile(took, share) for took in alone],
                peer=[quantile(took, share) for took in peer_alone],
                peer_is="`run_in_executor`",
                target=target,
            )
            for name, share, target in (("p50", 0.5, 250e-6), ("p99", 0.99, None))
        ],
    ]
    note = (
        "Each job is a `mul` in a fresh metered instance, with metrics on and the memory store. The peer has the same "
        "fuel and memory limits and none of time. In a chunk its calls share one message and one answer: none of them "
        "can be waited for, cancelled or lost alone, which each of wasmq's can."
    )
    echo = (
        f"One byte to another process and back took this machine {_echo() * 1e6:.0f} µs at the median; a `run` goes to "
        "its worker and back in the same way, so an idle one cannot be faster than that."
    )
    return rows, [note, echo]


def _echo(times: int = 2_000) -> float:
    """Return the median of what a byte takes to a process that waits for it and back, in seconds."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        while theirs.recv(1):
            theirs.send(b"x")
        os._exit(0)
    theirs.close()
    took = []
    with ours:
        for _ in range(times):
            start = time.perf_counter()
            ours.send(b"x")
            ours.recv(1)
            took.append(time.perf_counter() - start)
    os.waitpid(child, 0)
    return statistics.median(took)


def _calls(count: int) -> list[tuple[int, int]]:
    return [(number, 7) for number in range(count)]


def _check(values: list[int]) -> None:
    if values != [a * b for a, b in _calls(len(values))]:
        raise RuntimeError("a wrong product came back")


def _peer_map(pool: ProcessPoolExecutor, count: int, chunksize: int) -> float:
    """Return the peer's jobs a second."""
    calls = _calls(count)
    start = time.perf_counter()
    _check(list(pool.map(peer_pool.call_with, calls, chunksize=chunksize)))
    return count / (time.perf_counter() - start)


async def _callers(call: Call, each: int) -> float:
    """Return the jobs a second of many callers, each of whom waits for one job before it makes the next."""
    numbers = itertools.count()

    async def caller() -> None:
        for _ in range(each):
            number = next(numbers)
            if await call(number, 7) != number * 7:
                raise RuntimeError("a wrong product came back")

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(caller())
    return CALLERS * each / (time.perf_counter() - start)


async def _alone(call: Call) -> list[float]:
    """Return the seconds that each job took, one after the other."""
    took = []
    for number in range(ALONE):
        start = time.perf_counter()
        await call(number, 7)
        took.append(time.perf_counter() - start)
    return took


if __name__ == "__main__":
    main("scheduler", measure, rounds=5)
