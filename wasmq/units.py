"""Sizes as people write them: 65536, "64KiB", "1.5 MiB", "2GB"."""

from __future__ import annotations

import math
import re

from wasmq.errors import InvalidLimit

_FACTORS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", re.ASCII)


def parse_size(size: int | str, name: str = "size") -> int:
    """Return `size` in bytes.

    Raises `InvalidLimit`, naming `name`, when the text is not a number with an optional unit (B, KB, KiB, MB, MiB,
    GB, GiB; a bare K, M or G is binary).
    """
    if isinstance(size, int) and not isinstance(size, bool):
        return size
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None or len(match[1]) > 20:
        raise InvalidLimit(f"{name}: {size!r} is not a size; write bytes as a number or like '64KiB', '16MiB', '1GiB'")
    return math.floor(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor


def format_size(size: int) -> str:
    """Return bytes in the largest binary unit that keeps the number readable: 65536 → '64 KiB'."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} B"
