"""Durable jobs on PostgreSQL: submitted, run, recorded and awaited, by one daemon and by two that share the database.

The server is a private one on a Unix socket, with its defaults (`fsync` and `synchronous_commit` on), or the one that
WASMQ_TEST_POSTGRES names; daemons, workers, server and callers share this machine's cores.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import msgspec

import wasmq
from benchmarks import common
from benchmarks.common import GUESTS, ROOT, Row, each_round, main, quantile

sys.path.append(str(ROOT / "tests"))
from postgres import drop_schema, make_schema, server_url

CALLERS = 256
JOBS = 10_000
ALONE = 200  # jobs of the one caller


class Figures(msgspec.Struct, frozen=True):
    """What one daemon measured: when it began and ended by the machine's clock, jobs, seconds of a job on its own."""

    began: float
    ended: float
    jobs: int
    alone: list[float]


async def daemon(url: str, workers: int) -> None:
    """Run one daemon with its callers; says when it is ready, begins when told to, prints its figures."""
    async with wasmq.Scheduler(workers=workers, store=url, config=common.config()) as scheduler:
        mul = await scheduler.load(GUESTS / "mul.wat")
        alone = []
        for _ in range(ALONE):
            start = time.perf_counter()
            await scheduler.run(mul, "mul", 2, 4)
            alone.append(time.perf_counter() - start)
        left = JOBS

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await scheduler.run(mul, "mul", 2, 4)

        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began = time.time()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        figures = Figures(began, time.time(), JOBS, alone)
        # The others go on until they are done, with nobody missing.
        print(msgspec.json.encode(figures).decode(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


def together(url: str, daemons: int, workers: int) -> list[Figures]:
    """Return what so many daemons measure that share a database and begin at the same time."""
    program = f"import asyncio, benchmarks.durable_postgres as b; asyncio.run(b.daemon({url!r}, {workers}))"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(daemons)
    ]
    for expected in ("ready\n", None):
        lines = [process.stdout.readline() for process in running]  # type: ignore[union-attr]
        if expected is not None and lines != [expected] * daemons:
            raise RuntimeError("a daemon did not begin; what it said stands above")
        for process in running:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
    for process in running:
        process.communicate()
    return [msgspec.json.decode(line, type=Figures) for line in lines]


def rate(figures: list[Figures]) -> float:
    """Return jobs a second, from the first daemon's begin to the last one's end."""
    seconds = max(each.ended for each in figures) - min(each.began for each in figures)
    return sum(each.jobs for each in figures) / seconds


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    server = server_url()
    one, two, alone = [], [], []
    for _ in each_round("durable_postgres", rounds):
        for daemons, workers, rates in ((1, 2, one), (2, 1, two)):
            url = asyncio.run(make_schema(server))
            figures = together(url, daemons, workers)
            asyncio.run(drop_schema(url))
            rates.append(rate(figures))
            if daemons == 1:
                alone.append(quantile(figures[0].alone, 0.5))
    rows = [
        Row(measured=f"PostgreSQL, one daemon, {CALLERS} callers", kind="rate", ours=one, target=3_000.0),
        Row(measured=f"PostgreSQL, two daemons, {CALLERS} callers each", kind="rate", ours=two),
        Row(measured="PostgreSQL, one caller on an idle daemon, p50", kind="seconds", ours=alone),
    ]
    note = (
        "durable `mul` jobs on PostgreSQL: each is committed when it is accepted, when it starts and when its outcome "
        "is recorded; server, daemons, workers and callers share the cores."
    )
    return rows, [note]


if __name__ == "__main__":
    main("durable_postgres", measure, rounds=3)
