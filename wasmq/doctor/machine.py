"""The machine: kernel settings, memory, clock and disk. Facts are read by `facts`, and judged by pure functions."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import sys
import time
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wasmq.doctor.finding import Finding, failed, ok, warning
from wasmq.pool.cgroups import limit_of
from wasmq.units import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmq.config import Config

MAPPINGS_PER_INSTANCE = 4
MAPPINGS_BESIDE = 2_000
"""What a worker maps besides: libraries, artifacts, the allocator's own."""
LITTLE_DISK = 2**30
NO_DISK = 64 * 2**20
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


class Facts(NamedTuple):
    """What is read of a machine. None is what cannot be told here; `disks` has free bytes by path."""

    max_map_count: int | None
    memory: int
    memory_limit: int | None
    cores: int
    now: float
    drift: float
    synchronised: bool | None
    disks: Mapping[str, int]


def facts(paths: Mapping[str, Path]) -> Facts:
    """Read this machine. `paths` are directories by what they are for; it takes a twentieth of a second."""
    wall, monotonic = time.time(), time.monotonic()
    time.sleep(0.05)
    drift = (time.time() - wall) - (time.monotonic() - monotonic)
    return Facts(
        _number(Path("/proc/sys/vm/max_map_count")),
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        limit_of(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        wall,
        drift,
        _synchronised(),
        {f"{what} ({path})": shutil.disk_usage(path).free for what, path in paths.items()},
    )


def judge(found: Facts, config: Config, since: date) -> list[Finding]:
    """Return what is to be said of a machine; no clock is right that is earlier than `since`."""
    return [
        mappings(found.max_map_count, config.scheduler.instances),
        memory(found, config),
        clock(found, since),
        *[disk(what, free) for what, free in found.disks.items()],
    ]


def mappings(limit: int | None, instances: int) -> Finding:
    """Judge `vm.max_map_count`, which bounds the memory mappings of one process."""
    check, wanted = "vm.max_map_count", instances * MAPPINGS_PER_INSTANCE + MAPPINGS_BESIDE
    if limit is None:
        return warning(check, "cannot be read here", f"see that one process may have {wanted} memory mappings")
    if limit < wanted:
        return failed(
            check,
            f"{limit}: {instances} suspended instances in a worker want {wanted}",
            f"sysctl vm.max_map_count={wanted}, or lower [scheduler] instances",
        )
    return ok(check, f"{limit} is enough for {instances} instances in a worker")


def memory(found: Facts, config: Config) -> Finding:
    """Judge memory against what jobs may take: one job at its ceiling in each worker, at the least."""
    workers = config.scheduler.workers or found.cores
    there = min(found.memory, found.memory_limit or found.memory)
    kind = "cgroup limit" if found.memory_limit is not None and found.memory_limit < found.memory else "machine"
    wanted = workers * config.limits.max.memory
    text = f"{format_size(there)} ({kind})"
    if there < wanted:
        return warning(
            "memory",
            f"{text}: one job at its ceiling in each of {workers} workers takes {format_size(wanted)}",
            "lower [limits.max] memory or [scheduler] workers, or give the unit more",
        )
    return ok("memory", f"{text} for {workers} workers and jobs of {format_size(config.limits.max.memory)} at most")


def clock(found: Facts, since: date) -> Finding:
    """Judge the clock: not in the past, as fast as the monotonic one, and synchronised if that can be told."""
    today = date.fromtimestamp(found.now)
    if today < since:
        return failed("clock", f"it says {today}, before this wasmq was made ({since})", "set the clock")
    if abs(found.drift) > 0.02:
        return warning("clock", f"it ran {found.drift:+.3f} s against the monotonic one in 50 ms", "see what steps it")
    if found.synchronised is False:
        return warning("clock", "the kernel says that it is not synchronised", "start an NTP client: leases and delays")
    return ok("clock", "runs evenly" + (" and is synchronised" if found.synchronised else ""))


def disk(what: str, free: int) -> Finding:
    """Judge the room that is left where something is written."""
    if free < NO_DISK:
        return failed("disk", f"{what}: {format_size(free)} free", "make room, or move it")
    if free < LITTLE_DISK:
        return warning(
            "disk", f"{what}: {format_size(free)} free", "make room, or lower [store] history and cache_size"
        )
    return ok("disk", f"{what}: {format_size(free)} free")


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return None


def _synchronised() -> bool | None:
    """Ask the kernel's clock discipline, changing nothing; None where there is none or it may not be asked."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    room = ctypes.create_string_buffer(struct.pack("i", 0), 512)  # modes 0: only read; a timex is 208 bytes
    try:
        state = libc.adjtimex(room)
    except AttributeError:
        return None
    return None if state < 0 else state != _TIME_ERROR
