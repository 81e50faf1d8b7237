"""Where time comes from: an object handed in, so that tests can hand in another."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings, both in seconds."""

    def monotonic(self) -> float:
        """Return a reading that never goes back: for durations and deadlines inside this process."""
        ...

    def wall(self) -> float:
        """Return seconds since 1970: for what is stored, shown, or compared between processes."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def wall(self) -> float:
        """Return `time.time()`."""
        return time.time()
