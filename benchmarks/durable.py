"""Jobs that survive a power cut: the scheduler on a SQLite file, every commit synced.

    python -m benchmarks.durable             against the same scheduler in memory
    python -m benchmarks.durable --million   the store alone, empty and with a million finished jobs in its file

A job counts when its outcome is in the file and its caller has been told.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import common
from benchmarks.common import GUESTS, Row, each_round, main, quantile, say
from wasmq import Scheduler
from wasmq.clock import SystemClock
from wasmq.config import StoreConfig
from wasmq.job import Call, Caps, Job, Outcome
from wasmq.store import Finished, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wasmq.store import Store

WORKERS = 2
CALLERS = 256
CALLS = 40  # of each caller
ALONE = 500
MILLION = 1_000_000
BATCH = 256
BATCHES = 40


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    return asyncio.run(_measure(rounds))


async def _measure(rounds: int) -> tuple[list[Row], list[str]]:
    rates: dict[str, list[float]] = {"sqlite": [], "memory": []}
    alone: dict[str, list[list[float]]] = {"sqlite": [], "memory": []}
    syncs = []
    with tempfile.TemporaryDirectory(prefix="wasmq-bench-", dir="/var/tmp") as directory:
        for number in each_round("durable", rounds):
            syncs.append(_sync(Path(directory)))
            for name, url in (("sqlite", f"sqlite:///{directory}/{number}.db"), ("memory", "memory://")):
                async with Scheduler(config=common.config(), workers=WORKERS, store=url) as scheduler:
                    module = await scheduler.load(GUESTS / "mul.wat")
                    await _callers(scheduler, module.digest, 4)  # the first jobs find everything cold
                    rates[name].append(await _callers(scheduler, module.digest, CALLS))
                    alone[name].append(await _alone(scheduler, module.digest))
    rows = [
        Row(
            measured=f"durable `mul` by {CALLERS} callers at once",
            kind="rate",
            ours=rates["sqlite"],
            peer=rates["memory"],
            peer_is="wasmq in memory",
            target=8_000,
        ),
        *[
            Row(
                measured=f"one durable `mul`, idle, {name}",
                kind="seconds",
                ours=[quantile(took, share) for took in alone["sqlite"]],
                peer=[quantile(took, share) for took in alone["memory"]],
                peer_is="wasmq in memory",
                target=target,
            )
            for name, share, target in (("p50", 0.5, 4e-3), ("p99", 0.99, None))
        ],
    ]
    note = (
        "SQLite with `synchronous=FULL`: a submit returns, a job starts and an outcome is told after the commit that "
        f"records it has been synced. Writing and syncing 4 KiB took this disk {quantile(syncs, 0.5) * 1e3:.2f} ms at "
        "the median; one job alone waits for three such commits."
    )
    return rows, [note]


def measure_million(rounds: int) -> tuple[list[Row], list[str]]:
    return asyncio.run(_measure_million(rounds))


async def _measure_million(rounds: int) -> tuple[list[Row], list[str]]:
    config = StoreConfig(history=2 * MILLION)
    found: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="wasmq-bench-", dir="/var/tmp") as directory:
        full = open_store(f"sqlite:///{directory}/full.db", config, SystemClock())
        await full.open()
        say(f"durable: {MILLION} jobs")
        for _ in range(MILLION // 1_000):
            await _lives(full, 1_000, {})
        for number in each_round("durable", rounds):
            empty = open_store(f"sqlite:///{directory}/{number}.db", config, SystemClock())
            await empty.open()
            for name, store in (("empty", empty), ("full", full)):
                took: dict[str, list[float]] = {}
                for _ in range(BATCHES):
                    await _lives(store, BATCH, took)
                for what, times in took.items():
                    found.setdefault(f"{name} {what}", []).append(times)
            await empty.close()
        await full.close()
        size = _size(Path(directory))
    rows = [
        Row(
            measured=f"{what} {BATCH} jobs in one commit, a million finished",
            kind="seconds",
            ours=[quantile(times, 0.5) for times in found[f"full {what}"]],
            peer=[quantile(times, 0.5) for times in found[f"empty {what}"]],
            peer_is="an empty file",
            target_ratio=1 / 1.5,
        )
        for what in ("submit", "claim", "finish")
    ]
    return rows, [f"The file with {MILLION:,} finished jobs has {size / 1e6:.0f} MB.".replace(",", " ")]


_numbers: Iterator[int] = itertools.count()


async def _lives(store: Store, count: int, took: dict[str, list[float]]) -> None:
    """Take so many jobs through the store, each step in one commit, and note the seconds of each step."""
    now = time.time()
    jobs = [
        Job(
            id=f"{int(now * 1000):012x}{os.urandom(10).hex()}",
            call=Call("5" * 64, "mul", (number, 7)),
            caps=Caps(10**9, 2**26, 10.0, 2**20, 2**24),
            tenant=f"tenant-{number % 100}",
            priority=0,
            key=f"key-{number}" if number % 10 == 0 else None,
            submitted_at=now,
            due=now,
            order=float(number),
            cost=4.0,
        )
        for number in itertools.islice(_numbers, count)
    ]
    outcome = Outcome(status="succeeded", values=(14,), fuel_used=4, queued=0.001, ran=0.0001, attempts=1, worker="1")
    start = time.perf_counter()
    await store.put(jobs)
    took.setdefault("submit", []).append(time.perf_counter() - start)
    start = time.perf_counter()
    claimed = await store.claim(count, now)
    took.setdefault("claim", []).append(time.perf_counter() - start)
    start = time.perf_counter()
    await store.finish([Finished(job.id, job.attempt, outcome) for job in claimed])
    took.setdefault("finish", []).append(time.perf_counter() - start)


async def _callers(scheduler: Scheduler, module: str, each: int) -> float:
    """Return the jobs a second of many callers, each of whom waits for one job before it makes the next."""

    async def caller(number: int) -> None:
        for turn in range(each):
            if (await scheduler.run(module, "mul", number, turn)).value != number * turn:
                raise RuntimeError("a wrong product came back")

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(CALLERS):
            tasks.create_task(caller(number))
    return CALLERS * each / (time.perf_counter() - start)


async def _alone(scheduler: Scheduler, module: str) -> list[float]:
    """Return the seconds that each job took, one after the other."""
    took = []
    for number in range(ALONE):
        start = time.perf_counter()
        await scheduler.run(module, "mul", number, 7)
        took.append(time.perf_counter() - start)
    return took


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.glob("full.db*"))


def _sync(directory: Path) -> float:
    """Return the median of what appending 4 KiB and syncing them takes, in seconds."""
    took = []
    with (directory / "sync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    return quantile(took, 0.5)


if __name__ == "__main__":
    if "--million" in sys.argv:
        sys.argv.remove("--million")
        main("durable-million", measure_million, rounds=3)
    else:
        main("durable", measure, rounds=5)
