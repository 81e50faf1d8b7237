"""Time and chance, as a job sees them: those of this machine, or such as are the same every time."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

# A guest's monotonic clock starts here, not at this machine's uptime, which is none of its business; and not at 0,
# which some runtimes take for a broken clock.
START: Final = 1_000_000_000
# 2000-01-01T00:00:00Z, and how far a deterministic clock moves each time that it is read. Nanoseconds both.
EPOCH: Final = 946_684_800_000_000_000
TICK: Final = 1_000
_SEED: Final = 0x5EED
_FOREVER: Final = 1 << 63
_MASK: Final = (1 << 64) - 1


class Clock(Protocol):
    """Where the time comes from. All times are nanoseconds."""

    resolution: int
    # When this clock was at `START`, or at the fixed instant: what the CPU clocks count from.
    started: int

    def wall(self) -> int:
        """Return the time since 1970."""

    def monotonic(self) -> int:
        """Return a time that never goes back, for `wait` and for the guest."""

    def monotonic_at(self, wall: int) -> int:
        """Return which monotonic instant a wall-clock time is, as far as is known now."""

    def wait(self, until: int) -> bool:
        """Pass over the time `until` a monotonic instant and return True, or return False: somebody has to wait."""

    def outside(self, instant: int) -> int | None:
        """Return a monotonic instant on the clock of whoever waits; None when it never comes."""


class HostClock:
    """The clocks of the machine."""

    resolution = 1
    started = START

    def __init__(self, monotonic: Callable[[], int], wall: Callable[[], int]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._origin = monotonic() - START

    def wall(self) -> int:
        """Return the time since 1970."""
        return self._wall() & _MASK

    def monotonic(self) -> int:
        """Return the time since the job began, and a second."""
        return (self._monotonic() - self._origin) & _MASK

    def monotonic_at(self, wall: int) -> int:
        """Return an instant that is wrong as soon as somebody sets the wall clock."""
        return self.monotonic() + wall - self.wall()

    def wait(self, until: int) -> bool:
        """Return False: real time passes by itself."""
        return False

    def outside(self, instant: int) -> int | None:
        """Return an instant in the terms of the function that was given as `monotonic`."""
        return instant + self._origin if instant < _FOREVER else None


class FixedClock:
    """Starts at the year 2000, moves by `TICK` for each reading, and jumps over every wait: a sleep takes no time."""

    resolution = TICK
    started = EPOCH

    def __init__(self) -> None:
        self._now = EPOCH

    def wall(self) -> int:
        """Return the time since 1970."""
        return self.monotonic()

    def monotonic(self) -> int:
        """Return the same time: there is only one here."""
        now = self._now
        self._now = (now + TICK) & _MASK
        return now

    def monotonic_at(self, wall: int) -> int:
        """Return the same time."""
        return wall

    def wait(self, until: int) -> bool:
        """Jump ahead; False when that instant is beyond what a clock can show."""
        if until >= _FOREVER:
            return False
        self._now = max(self._now, until)
        return True

    def outside(self, instant: int) -> int | None:
        """Return None: what cannot be jumped over never comes."""
        return None


def seeded_bytes() -> Callable[[int], bytes]:
    """Return a source of bytes that gives the same ones each time. Not for secrets, and made when first needed."""
    return random.Random(_SEED).randbytes


def random_bytes() -> Callable[[int], bytes]:
    """Return the operating system's source of bytes."""
    return os.urandom
