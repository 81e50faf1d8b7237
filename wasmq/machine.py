"""What this machine has: the memory that may be given to jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GIVEN", "memory_given", "memory_limit"]

GIVEN: Final = 0.6
"""The part of the machine's memory, or of its control group's, that jobs get when nothing else is configured."""
_CGROUPS: Final = Path("sys/fs/cgroup")
_UNKNOWN: Final = 2**30  # bytes that a machine has which does not say


def memory_given(configured: int | None) -> int:
    """Return the bytes that all workers' jobs may have together: what is configured, or a share of what there is."""
    return int(memory_limit() * GIVEN) if configured is None else configured


def memory_limit(root: Path = Path("/")) -> int:
    """Return the bytes that the processes of this control group may use: its limit, or what the machine has.

    Reads version 1 and version 2 of Linux's control groups; a limit above counts as much as one's own. `root` is the
    directory in which /proc and /sys are.
    """
    return min([_machine(root), *_limits(root)])


def _machine(root: Path) -> int:
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, amount = line.partition(":")
        words = amount.split()
        if name == "MemTotal" and words and words[0].isdigit():
            return int(words[0]) * 1024
    return _UNKNOWN


def _limits(root: Path) -> Iterator[int]:
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            top, name = root / _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        # Inside a container the path may be the host's: then only the top is there, and it is the container's own.
        place = top / path.lstrip("/")
        for directory in (place, *place.parents):
            text = _read(directory / name).strip()
            if text.isdigit():
                yield int(text)
            if directory == top:
                break


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
