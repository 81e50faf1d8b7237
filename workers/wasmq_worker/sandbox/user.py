"""A user of its own: where the daemon is root, its children are somebody whom nothing belongs to."""

from __future__ import annotations

import os

from wasmq_worker.sandbox.wall import Moot


def become(uid: int | None, gid: int | None) -> str:
    """Become another user and group, for good and without further groups. Raises `Moot` where that is not to be.

    None stays who it is. The files and directories that are still to be opened must be readable for the new user.
    """
    if uid is None or gid is None:
        if os.geteuid() == 0:
            raise OSError(None, "runs as root: the daemon lacks the capabilities to make it another user")
        raise Moot("the daemon is not root")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise OSError(None, "the kernel did not change all of the process's ids")
    return f"uid {uid}, gid {gid}"
