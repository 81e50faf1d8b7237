"""Ten thousand instances suspended in the middle of a call, in one worker: what one of them costs to keep.

Memory is read from the kernel's books of the worker process: what is resident, and the page tables that the kernel
keeps for it, which are not part of that.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import common
from benchmarks.common import GUESTS, Row, each_round, main
from wasmq import Limits, Request, Scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmq import JobHandle, Module

INSTANCES = 10_000
ROOM = INSTANCES * 10 // 9 + 2  # instances: one tenant may hold nine in ten of them
BESIDE = 20  # jobs that run, one after the other, beside the suspended ones
LIMITS = Limits(fuel=10**12, timeout=3_600.0)
LOOK_EVERY = 0.05  # seconds between two looks at a gauge
TOUCHING = """
(module
  (memory (export "memory") 1)
  (func (export "spin")
    (i32.store (i32.const 0) (i32.const 1))
    (loop $forever (br $forever))))
"""


class Held(NamedTuple):
    """Bytes that the worker process holds."""

    resident: int
    tables: int


class Found(NamedTuple):
    """What one round found: bytes of each instance, seconds, and bytes of the whole worker above its start."""

    resident: float
    tables: float
    start: float
    beside: float
    cancel: float
    after: float
    after_again: float


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    plain: list[Found] = []
    touching: list[Found] = []
    for _ in each_round("suspended", rounds):
        plain.append(asyncio.run(_measure(GUESTS / "loop.wat")))
        touching.append(asyncio.run(_measure(TOUCHING)))
    rows = []
    for name, found in (("no memory", plain), ("a 64 KiB memory, written to", touching)):
        rows += [
            Row(
                measured=f"one suspended instance with {name}, resident",
                kind="bytes",
                ours=[each.resident for each in found],
                target=25e3,
            ),
            Row(measured="its page tables in the kernel", kind="bytes", ours=[each.tables for each in found]),
        ]
    rows.append(
        Row(
            measured=f"a `mul` beside {INSTANCES:,} suspended instances".replace(",", " "),
            kind="seconds",
            ours=[each.beside for each in plain],
        )
    )
    summary = Found(*[statistics.median(column) for column in zip(*plain, strict=True)])
    note = (
        f"All {INSTANCES} instances had had their first turn {summary.start:.1f} s after they were submitted, and "
        f"cancelling them took {summary.cancel:.1f} s. The worker keeps their room for the next ones: it held "
        f"{summary.after / 1e6:.0f} MB more than at its start afterwards, and {summary.after_again / 1e6:.0f} MB more "
        "when all of this had been done twice."
    )
    return rows, [note]


async def _measure(source: str | Path) -> Found:
    async with Scheduler(config=common.config(), workers=1, instances=ROOM) as scheduler:
        guest, mul = await scheduler.load(source), await scheduler.load(GUESTS / "mul.wat")
        worker = _worker()
        # The same guest once, so that what a module costs is not counted as an instance's.
        await _cancel(await _suspend(scheduler, guest, 1))
        await _beside(scheduler, mul)
        before = _held(worker)
        start = time.perf_counter()
        handles = await _suspend(scheduler, guest, INSTANCES)
        started = time.perf_counter() - start
        held = _held(worker)
        beside = await _beside(scheduler, mul)
        start = time.perf_counter()
        await _cancel(handles)
        cancelled = time.perf_counter() - start
        after = _held(worker)
        await _cancel(await _suspend(scheduler, guest, INSTANCES))
        after_again = _held(worker)
    return Found(
        resident=(held.resident - before.resident) / INSTANCES,
        tables=(held.tables - before.tables) / INSTANCES,
        start=started,
        beside=beside,
        cancel=cancelled,
        after=after.resident - before.resident,
        after_again=after_again.resident - before.resident,
    )


async def _beside(scheduler: Scheduler, mul: Module) -> float:
    """Return the seconds that one of a few short jobs takes, the median of them."""
    took = []
    for _ in range(BESIDE):
        start = time.perf_counter()
        if (await scheduler.run(mul, "mul", 2, 4)).value != 8:
            raise RuntimeError("a wrong product came back")
        took.append(time.perf_counter() - start)
    return statistics.median(took)


async def _cancel(handles: Sequence[JobHandle]) -> None:
    """Cancel jobs and return when each has answered."""
    await asyncio.gather(*[handle.cancel() for handle in handles])
    for handle in handles:
        outcome = await handle
        if outcome.status != "cancelled":
            raise RuntimeError(f"an instance did not stay: {outcome.error}")


async def _suspend(scheduler: Scheduler, guest: Module, count: int) -> Sequence[JobHandle]:
    """Start jobs that never end, and return once the worker says that each has had its first turn."""
    handles = await scheduler.submit_many([Request(module=guest.digest, export="spin", limits=LIMITS)] * count)
    while _running(scheduler) < count:  # noqa: ASYNC110 - a gauge rings no bell
        await asyncio.sleep(LOOK_EVERY)
    return handles


def _running(scheduler: Scheduler) -> float:
    text = scheduler.metrics.render().decode()
    found = re.search(r'^wasmq_instances\{state="running"\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _worker() -> int:
    """Return the process id of the only worker among the children of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8").split()
    workers = [int(pid) for pid in children if b"wasmq_worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    if len(workers) != 1:
        raise RuntimeError(f"expected one worker process, found {len(workers)}")
    return workers[0]


def _held(worker: int) -> Held:
    status = Path(f"/proc/{worker}/status").read_text(encoding="utf-8")
    values = dict(re.findall(r"^(\w+):\s*(\d+) kB$", status, re.MULTILINE))
    return Held(1024 * int(values["VmRSS"]), 1024 * int(values["VmPTE"]))


if __name__ == "__main__":
    main("suspended", measure, rounds=2)
