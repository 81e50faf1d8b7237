"""The order in which the walls go up: what needs rights first, what forbids the rest last."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from wasmq_worker.sandbox import capabilities, code, landlock, limits, process, root, seccomp, user
from wasmq_worker.sandbox.wall import put_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq_worker.protocol import Sandbox, Wall


_root = ""


class SandboxError(Exception):
    """Raised when a process behind its walls could not do its work."""


def artifact_path(path: str) -> str:
    """Return the path of an artifact as this process sees it, given the one that the scheduler knows."""
    if not _root:
        return path
    return f"/{os.path.relpath(path, _root)}"


def begin(keep: int) -> list[Wall]:
    """Give up what no part of the program needs, before anything is loaded; the descriptor `keep` stays open."""
    limits.open_all_descriptors()
    put_up("parent", process.die_with_parent)
    return [
        put_up("environment", process.environment),
        put_up("descriptors", partial(process.descriptors, keep)),
        put_up("session", process.session),
        put_up("privileges", process.no_new_privileges),
        put_up("oom", process.killed_before_the_daemon),
    ]


def enclose(role: seccomp.Role, sandbox: Sandbox, *, machine_code: bool) -> list[Wall]:
    """Give up the rest, once all is loaded and before the first byte from a guest; returns how each wall stands.

    From here on paths begin at the directory of artifacts if the wall "root" stands: see `artifact_path`. Raises
    `SandboxError` when the process could not read that directory any more.
    """
    global _root
    without = sandbox.without
    try:
        directory = os.open(sandbox.artifacts, os.O_PATH | os.O_DIRECTORY) if sandbox.artifacts else None
    except OSError:
        directory = None
    try:
        walls = [
            put_up("code", code.seal, without),
            put_up("limits", limits.compiler if role == "compiler" else limits.worker, without),
            put_up("root", partial(root.move_into, directory), without),
            put_up("bounds", capabilities.drop_bounds, without),
            put_up("user", partial(user.become, sandbox.uid, sandbox.gid), without),
            put_up("capabilities", capabilities.drop_all, without),
            # A compiler is handed what it reads, and hands over what it makes.
            put_up("landlock", partial(landlock.restrict, directory if role == "worker" else None), without),
        ]
    finally:
        if directory is not None:
            os.close(directory)
    if any(wall.name == "root" and wall.state == "up" for wall in walls):
        _root = sandbox.artifacts
    if sandbox.artifacts and not os.access(artifact_path(sandbox.artifacts), os.X_OK):
        raise SandboxError(
            f"{sandbox.artifacts}: cannot be read by user {os.getuid()}, as whom the worker runs; leave the owner of "
            'modules.directory to wasmq, or say [sandbox] without = ["user"]'
        )
    # The kernel takes these two back when a process changes its user.
    walls.append(put_up("memory", process.not_dumpable, without))
    walls.append(put_up("parent", partial(process.die_with_parent, sandbox.parent)))
    walls.append(put_up("seccomp", partial(seccomp.install, role, machine_code=machine_code), without))
    return walls


def leave(main: Callable[[], int]) -> NoReturn:
    """Run a process's main function and end the process with its status, or with 1 and what it raised on stderr.

    At once: an interpreter that winds down frees callbacks, whose memory is sealed by then.
    """
    status = 1
    try:
        status = main()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def narrow(sandbox: Sandbox, *, machine_code: bool) -> None:
    """Leave a process that was forked for one module less than the one that forked it. Raises `OSError`."""
    if "seccomp" not in sandbox.without:
        seccomp.install("compilation", machine_code=machine_code)
