"""Job ids: they sort by time, and nobody can guess one."""

from __future__ import annotations

import os
from typing import Final

_RANDOM: Final = 10  # bytes of an id
_AT_ONCE: Final = 1_000  # ids


class Ids:
    """Makes ids. Random bytes are drawn for many at once: each system call would let another thread take over."""

    def __init__(self) -> None:
        self._drawn = b""
        self._next = 0

    def make(self, now: float) -> str:
        """Return a new id for a time in seconds since 1970."""
        start = self._next
        if start >= len(self._drawn):
            self._drawn = os.urandom(_RANDOM * _AT_ONCE)
            start = 0
        self._next = start + _RANDOM
        return f"{int(now * 1000):012x}{self._drawn[start : self._next].hex()}"
