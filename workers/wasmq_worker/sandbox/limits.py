"""Resource limits: what the kernel refuses, whatever else is open to the process."""

from __future__ import annotations

import os
import resource
import signal

from wasmq_worker.sandbox.libc import LINUX


def worker() -> str:
    """Limit a worker: no core dumps, no bytes in files, no processes or threads, no locked memory, no queues."""
    _nothing(resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_NPROC)
    if LINUX:
        _nothing(resource.RLIMIT_MSGQUEUE, resource.RLIMIT_RTPRIO)
    return ""


def compiler() -> str:
    """Limit the waiting compile process and what it forks: no core dumps, files, locks, queues.

    A compilation has threads, and its memory and time are limited when they are known: see `compilation`.
    """
    _nothing(resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_MEMLOCK)
    if LINUX:
        _nothing(resource.RLIMIT_MSGQUEUE, resource.RLIMIT_RTPRIO)
    return ""


def compilation(*, memory: int, seconds: float) -> None:
    """Cap this process's address space (bytes) and its processor and wall time; past them the kernel ends it."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    whole = max(1, round(seconds + 0.5))
    # A compiler that uses several cores spends processor time faster than the clock runs.
    cpu = whole * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def open_all_descriptors() -> None:
    """Raise the soft limit: the engine keeps a descriptor for each artifact, and the usual one is 1 000 modules."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _nothing(*limits: int) -> None:
    for each in limits:
        resource.setrlimit(each, (0, 0))
