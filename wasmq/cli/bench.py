"""`wasmq bench`: how fast this machine runs the smallest useful job."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec
from cyclopts import Parameter, validators

from wasmq import logs
from wasmq.cli.options import ConfigFile, Json, effective_config
from wasmq.cli.output import print_json, print_table, progress
from wasmq.clock import SystemClock
from wasmq.errors import error_for
from wasmq.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wasmq.cli.output import Advance
    from wasmq.config import Config
    from wasmq.modules import Module

__all__ = ["bench"]

_MUL = """
(module
  (func (export "mul") (param i32 i32) (result i32)
    (i32.mul (local.get 0) (local.get 1))))
"""
_BUDGET = 3.0  # seconds for each measurement
_WARM_UP = 50  # jobs before the first measurement
_LATENCY_JOBS = 2_000  # enough for a p99
_CONCURRENT = 1_000  # callers that wait for a job each
_SHOWN_EVERY = 100  # jobs between two updates of the progress bar

_clock = SystemClock()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: latencies in seconds, rates in jobs a second, and the number of jobs behind each."""

    workers: int
    engine: str
    engine_version: str
    latency_p50: float
    latency_p99: float
    latency_jobs: int
    map_rate: float
    map_jobs: int
    concurrent_rate: float
    concurrent_jobs: int


def bench(
    *,
    jobs: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="The most jobs that one measurement runs.")
    ] = 50_000,
    workers: Annotated[int | None, Parameter(help="Worker processes; one per core unless told otherwise.")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Measure latency and throughput and print them."""
    logs.configure("error")
    settings = effective_config(config, {"scheduler.store": "memory://", "scheduler.workers": workers})
    report = anyio.run(_measure, settings, jobs)
    if json:
        print_json(report)
        return 0
    print_table(
        f"{report.workers} workers, {report.engine_version} {report.engine}",
        ("measurement", "result", "jobs"),
        [
            ("idle latency p50", _microseconds(report.latency_p50), str(report.latency_jobs)),
            ("idle latency p99", _microseconds(report.latency_p99), str(report.latency_jobs)),
            ("throughput of map", _rate(report.map_rate), str(report.map_jobs)),
            (f"throughput of {_CONCURRENT} callers", _rate(report.concurrent_rate), str(report.concurrent_jobs)),
        ],
    )
    return 0


async def _measure(config: Config, jobs: int) -> Report:
    workers = config.scheduler.workers or len(os.sched_getaffinity(0))
    with progress() as advance:
        async with Scheduler(config=config, workers=workers) as scheduler:
            module = await scheduler.load(_MUL)
            for a, b in _calls(_WARM_UP):
                first = await scheduler.run(module, "mul", a, b)
            latencies = await _latencies(scheduler, module, _calls(min(jobs, _LATENCY_JOBS), advance, "latency"))
            map_jobs, map_seconds = await _map(scheduler, module, _calls(jobs, advance, "map"))
            many_jobs, many_seconds = await _concurrent(scheduler, module, _calls(jobs, advance, "concurrent"))
    return Report(
        workers=workers,
        engine=first.engine,
        engine_version=first.engine_version,
        latency_p50=_quantile(latencies, 0.5),
        latency_p99=_quantile(latencies, 0.99),
        latency_jobs=len(latencies),
        map_rate=map_jobs / map_seconds,
        map_jobs=map_jobs,
        concurrent_rate=many_jobs / many_seconds,
        concurrent_jobs=many_jobs,
    )


def _calls(count: int, advance: Advance | None = None, name: str = "") -> Iterator[tuple[int, int]]:
    """Yield the arguments of at most `count` jobs, none once the measurement's time is over; says how far it is."""
    end = _clock.monotonic() + _BUDGET
    for number in range(count):
        if number and _clock.monotonic() >= end:
            break
        if advance is not None and number % _SHOWN_EVERY == 0:
            advance(name, number, count)
        yield number, 7


async def _latencies(scheduler: Scheduler, module: Module, calls: Iterator[tuple[int, int]]) -> list[float]:
    """Return the seconds that each job took from submit to outcome, one after the other."""
    seconds = []
    for a, b in calls:
        start = _clock.monotonic()
        await scheduler.run(module, "mul", a, b)
        seconds.append(_clock.monotonic() - start)
    return seconds


async def _map(scheduler: Scheduler, module: Module, calls: Iterator[tuple[int, int]]) -> tuple[int, float]:
    """Return how many jobs one `map` ran, and in how many seconds."""
    done = 0
    start = _clock.monotonic()
    async for outcome in scheduler.map(module, "mul", calls):
        if outcome.status != "succeeded":
            raise error_for(outcome)
        done += 1
    return done, _clock.monotonic() - start


async def _concurrent(scheduler: Scheduler, module: Module, calls: Iterator[tuple[int, int]]) -> tuple[int, float]:
    """Return how many jobs the callers ran between them, each waiting for its own, and in how many seconds."""
    done = 0

    async def caller() -> None:
        nonlocal done
        for a, b in calls:
            await scheduler.run(module, "mul", a, b)
            done += 1

    start = _clock.monotonic()
    async with anyio.create_task_group() as tasks:
        for _ in range(_CONCURRENT):
            tasks.start_soon(caller)
    return done, _clock.monotonic() - start


def _quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"


def _rate(per_second: float) -> str:
    return f"{per_second:.0f} jobs/s"
