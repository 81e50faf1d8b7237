"""Memory that holds code: none that can be written.

`ctypes` keeps the trampolines of its callbacks in memory that can be written and run. Once all callbacks are made it
need not be written any more; making another one, or dropping one, would end the process.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from wasmq_worker.sandbox.libc import LINUX, Unsupported

_READ_EXECUTE: Final = 1 | 4


def seal() -> str:
    """Take the right to write from every mapping that can be run. Raises `OSError`."""
    if not LINUX:
        raise Unsupported("code: needs Linux")
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in writable():
        if mprotect(start, end - start, _READ_EXECUTE) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"code: {os.strerror(code)}")
    return ""


def writable() -> list[tuple[int, int]]:
    """Return the mappings that can be both written and run, by their first address and the one after their last."""
    found = []
    with Path("/proc/self/maps").open(encoding="ascii", errors="replace") as maps:
        for line in maps:
            addresses, rights = line.split(maxsplit=2)[:2]
            if "w" in rights and "x" in rights:
                start, end = addresses.split("-")
                found.append((int(start, 16), int(end, 16)))
    return found
