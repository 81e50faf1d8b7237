"""Walls around the process as such: what it inherited, whose child it is, who may look into it, who is killed first."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Final

from wasmq_worker.sandbox.libc import LINUX, Unsupported, prctl

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_OOM_ABOVE: Final = 500
"""How far above the daemon's a worker's `oom_score_adj` is: about half of the machine's memory counts as its own."""
_OOM_MAX: Final = 1_000


def environment() -> str:
    """Forget every variable, the working directory, and rights of others to files."""
    os.environ.clear()
    os.chdir("/")
    os.umask(0o077)
    return ""


def descriptors(keep: int) -> str:
    """Close every descriptor but the standard three and `keep`."""
    os.closerange(3, keep)
    os.closerange(keep + 1, _most_descriptors())
    return ""


def session() -> str:
    """Lead a session and a process group of one's own: no terminal, and killed as one."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    # Ctrl-C in a terminal is for the scheduler, which decides what its workers do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return ""


def no_new_privileges() -> str:
    """Never gain rights by executing a file."""
    prctl("no new privileges", _PR_SET_NO_NEW_PRIVS, 1)
    return ""


def killed_before_the_daemon() -> str:
    """Be the one that the kernel ends when memory runs out, not the daemon whose value was inherited."""
    if not LINUX:
        raise Unsupported("oom_score_adj: needs Linux")
    path = Path("/proc/self/oom_score_adj")
    wanted = min(int(path.read_text(encoding="ascii")) + _OOM_ABOVE, _OOM_MAX)
    path.write_text(str(wanted), encoding="ascii")
    return f"oom_score_adj {wanted}"


def not_dumpable() -> str:
    """Have no core dump, and be looked into by nobody of the same user: neither ptrace nor /proc/PID/mem."""
    prctl("not dumpable", _PR_SET_DUMPABLE, 0)
    if prctl("not dumpable", _PR_GET_DUMPABLE):
        raise OSError(None, "not dumpable: the kernel did not keep it")
    return ""


def die_with_parent(parent: int = 0) -> str:
    """Have the kernel kill this process when its parent ends.

    Neither a fork nor a change of user inherits that. Given the parent's process id, a parent that has ended already
    counts too.
    """
    prctl("killed with its parent", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:
        os._exit(1)
    return ""


def _most_descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if 0 < soft < 2**20 else 2**20
