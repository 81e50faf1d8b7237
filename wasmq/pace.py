"""How much fuel a core spends in a second: measured at the start, then learned from what jobs used. Pure, no clock.

An exponentially weighted estimate whose weights are seconds of running time. A job that had to share its core, slept
or waited for its host shows less than the core can do, and never more: what is above the estimate moves it at once,
what is below it slowly.
"""

from __future__ import annotations

import math
from typing import Final

NOMINAL: Final = {"native": 5e8, "interpreter": 5e7}
"""Fuel a second until the first worker has measured it: round figures."""
LEAST: Final = 100_000
"""Fuel below which a job's time is mostly its start."""
_TAU: Final = 60.0  # seconds of running after which what was known counts for 1/e
_UP: Final = 0.3  # how far at least one outcome above the estimate moves it
_BOUNDS: Final = (1e3, 1e12)  # fuel a second beyond which nothing is believed: a worker may be in a guest's hands


class Pace:
    """The pace of one engine on this machine."""

    def __init__(self, engine: str) -> None:
        self.rate = NOMINAL[engine]
        """Fuel that one core spends in a second."""
        self._measured = False
        self._learned = False

    def calibrate(self, rate: float) -> None:
        """Take in what a worker has measured as it started; what jobs have shown since is worth more.

        Of several the highest counts: the others had a core that was busy with something else.
        """
        if self._learned or not _BOUNDS[0] <= rate <= _BOUNDS[1]:
            return
        self.rate = max(self.rate, rate) if self._measured else rate
        self._measured = True

    def learn(self, fuel: int, ran: float) -> None:
        """Take in what one job used, and for how many seconds it ran."""
        if fuel < LEAST or not 0.0 < ran < math.inf:
            return
        self._learned = True
        shown = min(max(fuel / ran, _BOUNDS[0]), _BOUNDS[1])
        weight = 1.0 - math.exp(-ran / _TAU)
        self.rate += (max(weight, _UP) if shown > self.rate else weight) * (shown - self.rate)

    def seconds(self, fuel: float, cores: int = 1) -> float:
        """Return how long it takes to spend an amount of fuel on so many cores."""
        return fuel / (self.rate * cores)
