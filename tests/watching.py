"""What tests of running schedulers share: patience that ends, and eyes on the processes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import wasmq

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATIENCE = 30.0
"""Seconds after which a test gives up: it hangs. No test's result depends on it otherwise."""
ENDLESS = wasmq.Limits(fuel=10**12, timeout=600.0)
"""Limits of a job that is to run until the test ends it."""
_GLANCE = 0.005  # seconds between two looks at what gives no sign of its own


@asynccontextmanager
async def running(make: Callable[..., wasmq.Scheduler], **options: object) -> AsyncIterator[wasmq.Scheduler]:
    """A scheduler that runs; the body must be done within `PATIENCE`."""
    async with asyncio.timeout(PATIENCE), make(**options) as scheduler:
        yield scheduler


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition` holds. For what happens in another process and rings no bell here."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(_GLANCE)


async def until_running(scheduler: wasmq.Scheduler, job: str, attempt: int = 1) -> None:
    """Return once a job has been started that many times and is with a worker."""
    async with asyncio.timeout(PATIENCE):
        while True:
            record = await scheduler.job(job)
            assert record.state != "finished", record.outcome
            if record.state == "running" and record.job.attempt == attempt and job in scheduler._pool._tickets:
                return
            await asyncio.sleep(_GLANCE)


def sample(scheduler: wasmq.Scheduler, name: str) -> float | None:
    """The value of one sample of a scrape, by its name and labels as they are written; None when it is not there."""
    for line in scheduler.metrics.render().decode().splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    return None


_others: set[int] = set()


def forget_children() -> None:
    """Leave the processes that there are now out of `children`: other tests started them and keep them."""
    _others.clear()
    _others.update(children())


def children() -> dict[int, list[str]]:
    """The processes that this test has started and that still are: process id → command line."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        # Threads end as well as processes while this looks.
        with suppress(FileNotFoundError, ProcessLookupError):
            for pid in (task / "children").read_text().split():
                with suppress(FileNotFoundError, ProcessLookupError):
                    found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return {pid: command for pid, command in found.items() if pid not in _others}


def workers() -> list[int]:
    """The process ids of the worker processes, oldest first."""
    return sorted(pid for pid, command in children().items() if "wasmq_worker" in command)


def worker_of(scheduler: wasmq.Scheduler, job: str) -> int:
    """The process id of the worker that has a job."""
    number, _ = scheduler._pool._tickets[job]
    child = scheduler._crew._workers[number].child
    assert child is not None
    assert child.pid in workers()
    return child.pid


def descriptors() -> list[str]:
    """What this process has open, each as the kernel names it."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except FileNotFoundError:
            continue  # the listing's own
    return sorted(found)
