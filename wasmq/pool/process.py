"""Child processes on the untrusted side: spawned with nothing, watched, killed as a group."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import Process

PYTHON_FLAGS = ("-I", "-X", "frozen_modules=on")
"""Isolated: no environment variables, no user site, no current directory on the path."""
_LAST_WORDS = 4_096  # bytes kept of what a child wrote to stderr


class Child:
    """A running child process and what it last wrote to stderr."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._words = b""

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Return the exit status once the process has ended; negative is the signal that ended it."""
        stderr = self._process.stderr
        if stderr is not None:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                while True:
                    self._words = (self._words + await stderr.receive())[-_LAST_WORDS:]
        return await self._process.wait()

    async def bury(self) -> None:
        """Kill the process if it still lives, and wait until nothing of it is left; cannot be cancelled."""
        with anyio.CancelScope(shield=True):
            self.kill()
            await self._process.wait()
            await self._process.aclose()

    def kill(self) -> None:
        """End the process and its children now; nothing happens when it has ended already."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """Return the last line that the process wrote to stderr, printable and short, or an empty text."""
        lines = [line.strip() for line in self._words.decode("utf-8", "replace").splitlines()]
        panics = [line for line in lines if line and not line.startswith(("note:", "stack backtrace"))]
        return "".join(char if char.isprintable() else "?" for char in (panics[-1] if panics else ""))[:200]


async def spawn(command: Sequence[str], descriptor: int, stdin: int = subprocess.DEVNULL) -> Child:
    """Start a process with an empty environment, in a session of its own, that inherits only `descriptor` and `stdin`.

    Raises `OSError` when it cannot be started.
    """
    process = await anyio.open_process(
        list(command),
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={},
        cwd="/",
        start_new_session=True,
        pass_fds=(descriptor,),
    )
    return Child(process)
