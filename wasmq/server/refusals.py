"""What the log says of connections and requests that are refused: enough to see it, however many there are."""

from __future__ import annotations

from collections import Counter
from typing import Final

import anyio

from wasmq.logs import get_logger

__all__ = ["INTERVAL", "LINES", "Refusals"]

INTERVAL: Final = 60.0
"""Seconds in which a client gets one line for each reason, and after which the others are counted in one."""
LINES: Final = 20
"""Lines in one interval, for all clients together."""


class Refusals:
    """The lines. Clients choose how often they are refused: so in each interval there are `LINES` + 1 at most."""

    def __init__(self) -> None:
        self._said: set[tuple[str | None, str]] = set()
        self._unsaid: Counter[str] = Counter()
        self._log = get_logger()

    def note(self, reason: str, client: str | None = None) -> None:
        """Log that a client was refused, or count it. There are few `reason`s; without a client all are as one."""
        if (client, reason) in self._said or len(self._said) >= LINES:
            self._unsaid[reason] += 1
            return
        self._said.add((client, reason))
        log = self._log if client is None else self._log.bind(client=client)
        log.warning("http.refused", reason=reason)

    def turn(self) -> None:
        """End an interval: log how many more were refused in it than there are lines, and begin anew."""
        if self._unsaid:
            self._log.warning("http.refused", suppressed=self._unsaid.total(), reasons=dict(self._unsaid))
        self._said.clear()
        self._unsaid.clear()

    async def run(self) -> None:
        """End each interval when its time has come, and the last one when cancelled."""
        try:
            while True:
                await anyio.sleep(INTERVAL)
                self.turn()
        finally:
            self.turn()
