"""Workers stand back for the scheduler: it has little to do, and everybody waits while it waits for a core.

Each worker is a session of its own, and where the kernel groups processes by session (`sched_autogroup_enabled`, most
desktops and servers) a process's own niceness counts only within its session; so the group's is set too. Beside
a flood of another tenant's jobs on two workers and two cores, a short job took 11 to 17 ms at the 99th percentile with
workers at 0, 3 to 5 ms at 10 and 1.4 to 2.2 ms at 19 (`python -m benchmarks.flooding`).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

import anyio

NICENESS: Final = 19
"""The most there is: where both want the same core, a worker has a seventieth of a common process's weight."""
_TRIES: Final = 10
_PAUSE: Final = 0.15  # seconds: the kernel takes one such change a tenth of a second from who is not root


async def stand_back(pid: int) -> None:
    """Let a process that has just been started go after others; nothing is done to one that is gone already."""
    for _ in range(_TRIES):
        again = await anyio.to_thread.run_sync(_lower, pid)
        if not again:
            return
        await anyio.sleep(_PAUSE)


def _lower(pid: int) -> bool:
    """Lower a process and its session's group; returns whether the kernel wants to be asked again later."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
        Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS), encoding="ascii")
    except OSError as error:
        # Without such groups the file is not there; a process that has ended needs no priority.
        return error.errno == errno.EAGAIN
    return False
