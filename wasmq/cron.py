"""Cron expressions in a time zone. The arithmetic is that of cronsim, which follows Debian's cron where clocks change.

A job at a fixed time that a change of clocks skips fires when the skipped hour is over, one in an hour that comes twice
fires the first time; a job that comes every so many minutes goes by the time that passes.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from collections.abc import Iterator

_START = 1_700_000_000.0  # any time: an expression that fires at all fires within fifty years of it


class Cron:
    """When something fires: `expression` has five fields, or six with the seconds first. Times are seconds since 1970.

    Raises `ValueError` in one line for an expression or a time zone that cannot be understood.
    """

    def __init__(self, expression: str, timezone: str = "UTC") -> None:
        self.expression = expression
        self.timezone = timezone
        self._zone = _zone(timezone)
        try:
            CronSim(expression, datetime.fromtimestamp(_START, self._zone))
        except (CronSimError, ValueError) as error:
            raise ValueError(f"{expression!r} is no cron expression: {error}") from None
        if next(self._ahead(_START), None) is None:
            raise ValueError(f"{expression!r} never fires")

    def after(self, time: float) -> float:
        """Return the first firing after `time`; infinity when there is none in fifty years."""
        return next(self._ahead(time), float("inf"))

    def last(self, first: float, now: float) -> float:
        """Return the last firing that is not after `now`; `first` is one that is not."""
        # Back to the firing before it, then forward: times come from one direction, so that each has one name only.
        back = CronSim(self.expression, datetime.fromtimestamp(int(now) + 1, self._zone), reverse=True)
        earlier = [firing.timestamp() for _, firing in zip(range(2), back, strict=False)]
        found = first
        for firing in self._ahead(max(first, min(earlier, default=first))):
            if firing > now:
                break
            found = firing
        return found

    def _ahead(self, time: float) -> Iterator[float]:
        for firing in CronSim(self.expression, datetime.fromtimestamp(time, self._zone)):
            # In the second of two equal hours a fixed time is that of the first one, which is over.
            if firing.timestamp() > time:
                yield firing.timestamp()


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is no time zone of this machine's; write one such as Europe/Berlin, or UTC"
        ) from None
