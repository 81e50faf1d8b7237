"""Workers stand back for the scheduler: it has little to do, and everybody waits while it waits for a core.

Each worker is a session of its own, and where the kernel groups processes by session (`sched_autogroup_enabled`, most
desktops and servers) a process's own niceness counts only within its session; so the group's is set too. Beside
a flood of another tenant's jobs on two workers and two cores, a short job took 11 to 17 ms at the 99th percentile with
workers at 0, 3 to 5 ms at 10 and 1.4 to 2.2 ms at 19 (`python -m benchmarks.flooding`). The default is 10 all the same:
where other programs keep the cores busy, workers at 19 hardly run, and the time of their jobs does.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

import anyio

_TRIES: Final = 10
_PAUSE: Final = 0.15  # seconds: the kernel takes one such change a tenth of a second from who is not root


async def stand_back(pid: int, niceness: int) -> None:
    """Let a process that has just been started go after others, by a niceness from 0 to 19.

    Nothing is done to one that is gone already.
    """
    if not niceness:
        return
    for _ in range(_TRIES):
        again = await anyio.to_thread.run_sync(_lower, pid, niceness)
        if not again:
            return
        await anyio.sleep(_PAUSE)


def _lower(pid: int, niceness: int) -> bool:
    """Lower a process and its session's group; returns whether the kernel wants to be asked again later."""
    try:
        # It may have been started as one that stands back further, and only root can take that from it.
        os.setpriority(os.PRIO_PROCESS, pid, max(niceness, os.getpriority(os.PRIO_PROCESS, pid)))
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness), encoding="ascii")
    except OSError as error:
        # Without such groups the file is not there; a process that has ended needs no priority.
        return error.errno == errno.EAGAIN
    return False
