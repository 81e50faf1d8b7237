"""Landlock: no file but the artifacts, those only to read; no port, no signal and no socket to anybody outside.

It needs no rights, so it holds whoever the daemon is. The numbers are those of linux/landlock.h; each version of the
interface (ABI) knows more, and what this kernel's does not know is said and left to the filter of system calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

from wasmq_worker.sandbox.libc import (
    LANDLOCK_ADD_RULE,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    syscall,
)

_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH: Final = 1
_READ_FILE: Final = 1 << 2
_FILES: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI → how many rights over files there are from it on: all of them are handled, and so refused."""
_NETWORK_ABI: Final = 4
_NETWORK: Final = 0b11  # bind and connect, TCP
_SCOPES_ABI: Final = 6
_SCOPES: Final = 0b11  # abstract Unix sockets and signals


def abi() -> int:
    """Return the version of Landlock that this kernel has. Raises `OSError` when there is none."""
    try:
        return syscall("landlock", LANDLOCK_CREATE_RULESET, None, 0, _VERSION)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise OSError(None, "landlock: this kernel has none (Linux 5.13, CONFIG_SECURITY_LANDLOCK)") from None
        if error.errno == errno.EOPNOTSUPP:
            raise OSError(None, "landlock: switched off at boot (lsm=)") from None
        raise


def restrict(directory: int | None) -> str:
    """Leave this process nothing of the file system but to read files below the directory behind a descriptor.

    It must have given up new privileges. Raises `OSError`.
    """
    version = abi()
    files = (1 << max(count for since, count in _FILES.items() if since <= version)) - 1
    attributes = struct.pack("=Q", files)
    if version >= _NETWORK_ABI:
        attributes += struct.pack("=Q", _NETWORK)
    if version >= _SCOPES_ABI:
        attributes += struct.pack("=Q", _SCOPES)
    ruleset = syscall("landlock", LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        if directory is not None:
            rule = ctypes.create_string_buffer(struct.pack("=Qi", _READ_FILE, directory))
            syscall("landlock", LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        syscall("landlock", LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    missing = [what for since, what in ((_NETWORK_ABI, "ports"), (_SCOPES_ABI, "signals")) if version < since]
    return f"ABI {version}" + (f", which knows nothing of {' and '.join(missing)}" if missing else "")
