"""A root directory of its own: where the daemon is root, its worker sees the artifacts and no other file."""

from __future__ import annotations

import os

from wasmq_worker.sandbox.wall import Moot


def move_into(directory: int | None) -> str:
    """Make the directory behind a descriptor the root of all paths. Raises `Moot` where this process is not root.

    It needs CAP_SYS_CHROOT, and must come before the change of user.
    """
    if os.geteuid() != 0:
        raise Moot("the daemon is not root")
    if directory is None:
        raise OSError(None, "no directory was given")
    os.fchdir(directory)
    os.chroot(".")
    os.chdir("/")
    return ""
