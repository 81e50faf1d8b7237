"""How often one caller may ask: a token bucket (Turner 1986) for each. Pure, time as an argument."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

__all__ = ["Rates"]

_REMEMBERED: Final = 10_000  # callers; who comes back later than so many others begins with a full bucket


class Rates:
    """The buckets. Each holds `burst` requests and gets `rate` a second; times are seconds of a monotonic clock."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def take(self, caller: bytes, now: float) -> float:
        """Count a request, and return 0; or return the seconds until there is room for it, and count nothing."""
        level, at = self._buckets.pop(caller, (self._burst, now))
        level = min(self._burst, level + self._rate * max(0.0, now - at))
        room = level >= 1.0
        self._buckets[caller] = (level - 1.0 if room else level, now)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return 0.0 if room else (1.0 - level) / self._rate
