"""What the process gives up before it sees guest code."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


class SandboxError(Exception):
    """Raised when the process cannot give up what it must."""


def enter(keep: int) -> None:
    """Give up everything but the descriptor `keep` and the standard three.

    Environment, working directory, new privileges, core dumps, being traced by equals, living longer than the parent.
    Raises `SandboxError` when the kernel refuses one of them.
    """
    os.environ.clear()
    os.chdir("/")
    os.umask(0o077)
    os.closerange(3, keep)
    os.closerange(keep + 1, _descriptors())
    # The engine keeps a descriptor for each artifact it maps: the usual soft limit would be 1 000 modules.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "no new privileges")
    _prctl(_PR_SET_DUMPABLE, 0, "not dumpable")
    die_with_parent()
    # Ctrl-C in a terminal is for the scheduler, which decides what its workers do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends; a fork does not inherit that.

    Given the parent's process id, a parent that has ended already counts too.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, "killed with its parent")
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def limit(*, memory: int, seconds: float) -> None:
    """Cap this process's address space (bytes) and its processor and wall time; past them the kernel ends it."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    whole = max(1, round(seconds + 0.5))
    # A compiler that uses several cores spends processor time faster than the clock runs.
    cpu = whole * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _prctl(option: int, value: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise SandboxError(f"prctl ({name}): {os.strerror(ctypes.get_errno())}")


def _descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if 0 < soft < 2**20 else 2**20
