"""Values made of a fuzzer's bytes: the same with atheris and without, so that a corpus keeps its meaning."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

_T = TypeVar("_T")

EDGES: Final = (0, 1, -1, 2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**32, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 127, 256)
"""Integers at which something often ends."""
_FLOATS: Final = (0.0, -0.0, 1.5, -1.0, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324, 1e39)
_TEXTS: Final = (
    "",
    "a",
    "\x00",
    "\n",
    "\u202e",
    "é",
    "\U0001f600",
    "'",
    '"',
    "`",
    "NaN",
    "-0",
    "1e999",
    "00",
    "٣",
    "\ud800",
)
_WIDTHS: Final = ("<b", "<h", "<i", "<q")


class Draw:
    """Takes a fuzzer's bytes from the front; where there are none any more, everything is zero, empty or the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """Return a number from 0 to 255."""
        at = self._at
        if at >= len(self._data):
            return 0
        self._at = at + 1
        return self._data[at]

    def below(self, end: int) -> int:
        """Return a number from 0 to `end` - 1, at most 65 535."""
        return self.byte() % end if end <= 256 else (self.byte() << 8 | self.byte()) % end

    def flag(self) -> bool:
        """Return true or false."""
        return bool(self.byte() & 1)

    def choice(self, among: Sequence[_T]) -> _T:
        """Return one of some values."""
        return among[self.below(len(among))]

    def take(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end."""
        at = self._at
        self._at = min(at + size, len(self._data))
        return self._data[at : self._at]

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(len(self._data))

    def integer(self) -> int:
        """Return an integer of any size up to 64 bits, often one at an edge."""
        kind = self.below(6)
        if kind == 0:
            return self.choice(EDGES)
        if kind == 1:
            return self.byte()
        width = _WIDTHS[kind - 2]
        size = struct.calcsize(width)
        (number,) = struct.unpack(width, self.take(size).ljust(size, b"\0"))
        return int(number)

    def real(self) -> float:
        """Return a float, often one at an edge."""
        if self.flag():
            return self.choice(_FLOATS)
        (number,) = struct.unpack("<d", self.take(8).ljust(8, b"\0"))
        return float(number)

    def octets(self, most: int = 64) -> bytes:
        """Return bytes of a length that is drawn too."""
        return self.take(self.below(most + 1))

    def text(self, most: int = 32) -> str:
        """Return text, lone surrogates and all."""
        if self.flag():
            return self.choice(_TEXTS)
        return self.octets(most).decode("utf-8", "surrogateescape" if self.flag() else "replace")

    def json(self, depth: int = 4) -> Any:
        """Return what JSON can say, nested at most so deep."""
        match self.below(9 if depth else 6):
            case 0:
                return None
            case 1:
                return self.flag()
            case 2 | 3:
                return self.integer()
            case 4:
                return self.real()
            case 5:
                return self.text()
            case 6:
                return {self.text(8): self.json(depth - 1) for _ in range(self.below(4))}
            case _:
                return [self.json(depth - 1) for _ in range(self.below(5))]
