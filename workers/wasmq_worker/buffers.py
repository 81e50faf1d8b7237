"""The memory through which an instance and the engine speak: one block at a fixed address for each job."""

from __future__ import annotations

import ctypes
from typing import Final

from wasmq_worker import values

# Where things lie in an instance's buffer, in bytes. All of it must stay in place while a future lives.
TRAP: Final = 0
ERROR: Final = 8
FUEL: Final = 16
INSTANCE: Final = 24
NAME: Final = 40
NAME_LENGTH: Final = 48
EXTERN: Final = 56
EXTERN_OF: Final = EXTERN + 8
VALUES: Final = 96
_SMALL: Final = VALUES + 8 * values.SIZE
_KEPT_BUFFERS: Final = 256
NO_POINTERS: Final = bytes(16)
"""What lies at `TRAP` and `ERROR` while nothing went wrong."""


class Buffers:
    """Blocks of memory at fixed addresses, kept for the next instance."""

    def __init__(self) -> None:
        self._kept: list[tuple[bytearray, int, object]] = []

    def take(self, slots: int) -> tuple[bytearray, int, object]:
        """Return a buffer with room for `slots` values, its address, and what keeps it from moving."""
        size = VALUES + slots * values.SIZE
        if size <= _SMALL and self._kept:
            return self._kept.pop()
        buffer = bytearray(max(size, _SMALL))
        anchor = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        return buffer, ctypes.addressof(anchor), anchor

    def give(self, buffer: tuple[bytearray, int, object]) -> None:
        """Take a buffer back; nothing may point into it any more."""
        if len(self._kept) < _KEPT_BUFFERS and len(buffer[0]) == _SMALL:
            self._kept.append(buffer)
