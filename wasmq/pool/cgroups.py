"""Control groups for workers, where somebody has delegated a part of the tree to the daemon.

Version 2 of the interface only (cgroup-v2.rst). systemd marks what it delegates with an extended attribute; with
`DelegateSubgroup=` the daemon sits in a group of its own below that, and workers can have theirs beside it. Everything
here blocks: call it in a thread.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wasmq.units import format_size
from wasmq_worker.protocol import Wall

if TYPE_CHECKING:
    from wasmq.config import SandboxConfig

_MOUNT = Path("/sys/fs/cgroup")
_DELEGATED = ("user.delegate", "trusted.delegate")
"""What systemd sets to 1 on what it delegates (CGROUP_DELEGATION.md)."""
_PART = 3 / 4
"""Of the machine's memory, for all workers together."""


class NoCgroup(Exception):
    """Raised with the reason why workers cannot have cgroups."""


class Cgroups:
    """The groups of one scheduler's workers. `parent` is where they are made, `memory` the bytes that each may take."""

    def __init__(self, parent: Path, memory: int) -> None:
        self.parent = parent
        self.memory = memory

    def put(self, pid: int, number: int) -> Wall:
        """Make a group for a process that has just been started, and return how that wall stands."""
        group = self._group(number)
        try:
            group.mkdir(exist_ok=True)
            (group / "memory.max").write_text(f"{self.memory}\n", encoding="ascii")
            with suppress(OSError):  # without swap on the machine there is no such file
                (group / "memory.swap.max").write_text("0\n", encoding="ascii")
            (group / "memory.oom.group").write_text("1\n", encoding="ascii")
            (group / "cgroup.procs").write_text(f"{pid}\n", encoding="ascii")
        except OSError as error:
            return Wall("cgroup", "down", f"{group}: {error.strerror}")
        return Wall("cgroup", "up", f"{self.memory} bytes in {self.parent}")

    def drop(self, number: int) -> str:
        """Remove the group of a process that is gone, and return what the kernel killed it for, "" for nothing."""
        group, killed = self._group(number), False
        with suppress(OSError):  # it never came to be
            counts = (group / "memory.events").read_text(encoding="ascii").splitlines()
            killed = any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in counts)
        with suppress(OSError):
            group.rmdir()
        return f"killed for taking more memory than {format_size(self.memory)} (sandbox.memory)" if killed else ""

    def _group(self, number: int) -> Path:
        # Several daemons may share a parent.
        return self.parent / f"wasmq-{os.getpid()}-{number}"


def find(config: SandboxConfig, workers: int, *, mount: Path = _MOUNT, own: str | None = None) -> Cgroups:
    """Return where workers can have groups: as configured, or beside the daemon's own group. Raises `NoCgroup`.

    `own` is the text of /proc/self/cgroup, read when it is not given.
    """
    parent = Path(config.cgroup) if config.cgroup is not None else _delegated(mount, own)
    try:
        enabled = (parent / "cgroup.subtree_control").read_text(encoding="ascii").split()
        if "memory" not in enabled:
            (parent / "cgroup.subtree_control").write_text("+memory\n", encoding="ascii")
    except OSError as error:
        raise NoCgroup(f"{parent}: cannot limit memory: {error.strerror}") from None
    if not os.access(parent, os.W_OK):
        raise NoCgroup(f"{parent}: cannot be written")
    return Cgroups(parent, config.memory or int(memory_of_machine(mount, own) * _PART / workers))


def limit_of(mount: Path = _MOUNT, own: str | None = None) -> int | None:
    """Return the least memory limit, in bytes, of this process's cgroup and those above; None without any."""
    try:
        group = _own_group(mount, own)
    except NoCgroup:
        return None
    limits = []
    while group != mount.parent and group != group.parent:
        with suppress(OSError, ValueError):  # the root has none, and "max" is none
            limits.append(int((group / "memory.max").read_text(encoding="ascii")))
        group = group.parent
    return min(limits, default=None)


def memory_of_machine(mount: Path = _MOUNT, own: str | None = None) -> int:
    """Return how many bytes of memory there are for this process and its children."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = limit_of(mount, own)
    return there if limit is None else min(there, limit)


def _own_group(mount: Path, own: str | None) -> Path:
    if own is None:
        try:
            own = Path("/proc/self/cgroup").read_text(encoding="utf-8")
        except OSError:
            raise NoCgroup("this system has no cgroups") from None
    for line in own.splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            group = mount / path.lstrip("/")
            if (group / "cgroup.controllers").exists():
                return group
    raise NoCgroup("this machine's cgroups are not of version 2 alone")


def _delegated(mount: Path, own: str | None) -> Path:
    parent = _own_group(mount, own).parent
    for attribute in _DELEGATED:
        with suppress(OSError):
            if os.getxattr(parent, attribute) == b"1":
                return parent
    raise NoCgroup(f"{parent} is not delegated (Delegate= and DelegateSubgroup= in the unit, or sandbox.cgroup)")
