"""Workers stand back for the scheduler."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from watching import running, until, workers

from wasmq.config import Config, SchedulerConfig
from wasmq.pool.priority import stand_back


def group_of(pid: int) -> int | None:
    """The niceness of a process's session, None where the kernel does not group by session."""
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text(encoding="ascii").rpartition("nice ")[2])
    except (OSError, ValueError):
        return None


@pytest.mark.parametrize("niceness", [7, 19])
async def test_workers_go_after_the_scheduler(make_scheduler, niceness):
    """Each process is nicer, and so is its session where the kernel groups processes by session."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    config = Config(scheduler=SchedulerConfig(niceness=niceness))
    async with running(make_scheduler, workers=2, config=config):
        for pid in workers():
            await until(lambda pid=pid: os.getpriority(os.PRIO_PROCESS, pid) == max(own, niceness))
            await until(lambda pid=pid: group_of(pid) in (None, niceness))
        assert os.getpriority(os.PRIO_PROCESS, 0) == own


async def test_workers_that_need_not_are_left_as_they_started(make_scheduler):
    """At 0, they compete as equals."""
    async with running(make_scheduler, workers=1, config=Config(scheduler=SchedulerConfig(niceness=0))) as scheduler:
        await scheduler.run(await scheduler.load(b'(module (func (export "f")))'), "f")
        (pid,) = workers()
        assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.parametrize("pid", [2**22 + 1])
async def test_a_process_that_is_gone_is_left_alone(pid):
    """It may have ended before anybody could do anything to it."""
    await stand_back(pid, 19)
