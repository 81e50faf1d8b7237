"""Workers stand back for the scheduler."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from watching import running, until, workers

from wasmq.pool.priority import NICENESS, stand_back


def group_of(pid: int) -> int | None:
    """The niceness of a process's session, None where the kernel does not group by session."""
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text(encoding="ascii").rpartition("nice ")[2])
    except (OSError, ValueError):
        return None


async def test_workers_go_after_the_scheduler(make_scheduler):
    """Each process is nicer, and so is its session where the kernel groups processes by session."""
    async with running(make_scheduler, workers=2):
        for pid in workers():
            await until(lambda pid=pid: os.getpriority(os.PRIO_PROCESS, pid) == NICENESS)
            await until(lambda pid=pid: group_of(pid) in (None, NICENESS))
        assert os.getpriority(os.PRIO_PROCESS, 0) < NICENESS


@pytest.mark.parametrize("pid", [2**22 + 1])
async def test_a_process_that_is_gone_is_left_alone(pid):
    """It may have ended before anybody could do anything to it."""
    await stand_back(pid)
