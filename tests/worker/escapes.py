"""Processes that enter the sandbox as a worker does, and then try to walk out of it in native code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from .driver import PATIENCE, SOMEBODY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROOT = os.geteuid() == 0
EVERY_OTHER = ("code", "limits", "root", "bounds", "user", "capabilities", "landlock", "memory", "seccomp")

_ESCAPE = """
import ctypes, errno, json, mmap, os, resource, signal, socket, sys, threading
from wasmq_worker import sandbox
from wasmq_worker.protocol import Sandbox
from wasmq_worker.sandbox import code
given = json.loads(sys.argv[2])
walls = sandbox.begin(int(sys.argv[1]))
channel = socket.socket(fileno=int(sys.argv[1]))
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
libc.memmove.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)

def tell(value):
    channel.sendall(json.dumps(value).encode() + b"\\n")

def call(function, *arguments):
    ctypes.set_errno(0)
    result = getattr(libc, function)(*arguments)
    if result in (-1, None, 2**64 - 1):
        return errno.errorcode.get(ctypes.get_errno(), "refused")
    return "done"

def make(source):
    attempt = compile(source, "attempt", "exec")
    parent = os.getppid()
    settings = Sandbox(given["artifacts"], given["uid"], given["gid"], parent, tuple(given["without"]))
    space = globals() | {
        "settings": settings, "parent": parent, "artifacts": given["artifacts"], **given["names"]
    }
    standing = walls + sandbox.enclose(given["role"], settings, machine_code=given["machine_code"])
    tell({wall.name: wall.state for wall in standing})
    exec(attempt, space)
    os._exit(0)

if given["attempt"]:
    make(given["attempt"])
# Each in a fork: to start an interpreter takes longer than all that a process does here.
tell({})
for source in given["attempts"]:
    child = os.fork()
    if not child:
        sandbox.die_with_parent()
        make(source)
    _, status = os.waitpid(child, 0)
    tell({"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0})
"""


class Escape(NamedTuple):
    """How an attempt ended: the walls that stood, what it told, and the signal that ended it, 0 for none."""

    walls: dict[str, str]
    told: list[Any]
    signal: int

    @property
    def killed(self) -> bool:
        """Whether the filter of system calls has ended the process before it could tell anything."""
        return self.signal == signal.SIGSYS and not self.told


class Prisoner:
    """A process in the sandbox that makes an attempt and waits for nothing."""

    def __init__(
        self,
        artifacts: Path,
        attempt: str,
        *,
        without: Sequence[str] = (),
        role: str = "worker",
        machine_code: bool = True,
        uid: int | None = SOMEBODY if ROOT else None,
        environment: dict[str, str] | None = None,
        attempts: Sequence[str] = (),
        **names: Any,
    ) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(PATIENCE)
        given = {
            "attempt": attempt,
            "attempts": list(attempts),
            "artifacts": str(artifacts),
            "without": list(without),
            "role": role,
            "machine_code": machine_code,
            "uid": uid,
            "gid": uid,
            "names": names,
        }
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", _ESCAPE, str(theirs.fileno()), json.dumps(given)],
                env=environment or {},
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        self._lines = self.socket.makefile("rb")
        self.walls: dict[str, str] = self.next()

    def next(self) -> Any:
        """Return the next thing that the process tells, None when it has ended."""
        try:
            line = self._lines.readline()
        except ConnectionResetError:
            return None
        if not line and not hasattr(self, "walls"):
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read().decode())
        return json.loads(line) if line else None

    def end(self) -> Escape:
        """Return how it went, once the process has ended."""
        told = []
        while (value := self.next()) is not None:
            told.append(value)
        status = self.process.wait(PATIENCE)
        self.close()
        return Escape(self.walls, told, -status if status < 0 else 0)

    def close(self) -> None:
        """Leave nothing of it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self._lines.close()
        self.socket.close()
        assert self.process.stderr is not None
        self.process.stderr.close()


def escape(artifacts: Path, attempt: str, **options: Any) -> Escape:
    """Try to get out, and return how that went."""
    return Prisoner(artifacts, attempt, **options).end()


def escapes(artifacts: Path, attempts: dict[str, str], **options: Any) -> dict[str, Escape]:
    """Try all of them, each in a process of its own, and return how each went."""
    prisoner = Prisoner(artifacts, "", attempts=list(attempts.values()), **options)
    found = {}
    for name in attempts:
        walls, told = prisoner.next(), []
        while not (isinstance(value := prisoner.next(), dict) and "signal" in value):
            if value is None:
                raise AssertionError(f"{name}: the process that forks has ended")
            told.append(value)
        found[name] = Escape(walls, told, value["signal"])
    prisoner.end()
    return found


def only(*walls: str) -> tuple[str, ...]:
    """Return what to leave out so that of the walls that can be left out only these stand."""
    return tuple(name for name in EVERY_OTHER if name not in walls)
