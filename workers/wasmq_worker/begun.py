"""Which jobs have begun, where the scheduler can still read it when this process is dead.

A frame that says so may never be sent: a job can end its worker within its first turn. So the worker's standard input
is a small file in memory that both map or read, and each ticket is written there before anything of its job runs.
"""

from __future__ import annotations

import mmap
from typing import Final

from wasmq_worker.protocol import BEGUN_BYTES, BEGUN_SLOTS

_MASK: Final = BEGUN_SLOTS - 1


class Begun:
    """Notes tickets in the file that is open at `descriptor`. Raises `OSError` or `ValueError` when it is no such."""

    def __init__(self, descriptor: int = 0) -> None:
        self._slots = memoryview(mmap.mmap(descriptor, BEGUN_BYTES)).cast("Q")
        self._next = 0

    def note(self, ticket: int) -> None:
        """Write down that a job begins."""
        self._slots[self._next & _MASK] = ticket
        self._next += 1
