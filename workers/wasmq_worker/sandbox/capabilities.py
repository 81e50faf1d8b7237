"""Capabilities: none, and no way to get one back."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Final

from wasmq_worker.sandbox.libc import CAPSET, LINUX, MACHINE, Unsupported, prctl, syscall

_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECUREBITS: Final = 28
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_SECURE: Final = (1 << 0 | 1 << 1) | 1 << 5 | (1 << 6 | 1 << 7)
"""NOROOT and its lock, KEEP_CAPS locked as off, NO_CAP_AMBIENT_RAISE and its lock (linux/securebits.h)."""
_VERSION_3: Final = 0x20080522
_SETS: Final = 24  # bytes: effective, permitted and inheritable, in two halves of 32 bits
_MOST: Final = 64


def drop_bounds() -> str:
    """Take every capability out of the bounding set and lock the bits that would give root its powers back.

    Must come before the change of user: it takes CAP_SETPCAP. A process without that one cannot gain any by executing
    a file either, once it can gain no privileges.
    """
    if not LINUX:
        raise Unsupported("capabilities: needs Linux")
    try:
        prctl("locking securebits", _PR_SET_SECUREBITS, _SECURE)
        for capability in range(_MOST):
            try:
                if not prctl("bounding set", _PR_CAPBSET_READ, capability):
                    continue
            except OSError:  # above the last that the kernel knows
                break
            prctl("bounding set", _PR_CAPBSET_DROP, capability)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
    return ""


def drop_all() -> str:
    """Empty the effective, permitted, inheritable and ambient sets."""
    if not LINUX:
        raise Unsupported("capabilities: needs Linux")
    prctl("ambient set", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    if held():
        syscall("capset", CAPSET[MACHINE], _header(), bytes(_SETS))
    if held():
        raise OSError(None, "capabilities: some could not be dropped")
    return ""


def held() -> bool:
    """Return whether the process has any capability, or could pass one on."""
    sets = ctypes.create_string_buffer(_SETS)
    syscall("capget", CAPSET[MACHINE] - 1, _header(), sets)
    return any(sets.raw)


def _header() -> bytes:
    return struct.pack("=Ii", _VERSION_3, 0)
