"""System calls that Python has no function for, each an `OSError` with its name when the kernel refuses."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Final

LINUX: Final = sys.platform == "linux"
MACHINE: Final = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())

# One number on both architectures, because they are younger than the common table (asm-generic/unistd.h).
LANDLOCK_CREATE_RULESET: Final = 444
LANDLOCK_ADD_RULE: Final = 445
LANDLOCK_RESTRICT_SELF: Final = 446
# These are older: x86_64, aarch64.
SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
CAPSET: Final = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


class Unsupported(OSError):
    """Raised when this system cannot have what was asked for at all."""


def syscall(name: str, number: int, *arguments: object) -> int:
    """Make a system call with integers, pointers or None. Raises `OSError`."""
    if _libc is None:
        raise Unsupported(f"{name}: needs Linux")
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise _error(name)
    return result


def prctl(name: str, option: int, *arguments: int) -> int:
    """Make a prctl call; arguments that are left out are 0. Raises `OSError`."""
    if _libc is None:
        raise Unsupported(f"{name}: needs Linux")
    words = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = _libc.prctl(ctypes.c_int(option), *words)
    if result < 0:
        raise _error(name)
    return result


def _error(name: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{name}: {os.strerror(code)}")
