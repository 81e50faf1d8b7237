"""What systemd is told of the daemon's life: datagrams to the socket that it names in NOTIFY_SOCKET, see sd_notify(3).

Without that variable nobody is told, and nothing here does anything.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import anyio

from wasmq.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Notifier"]


class Notifier:
    """Tells the service manager that `environ` names. `watchdog` is the seconds in which it wants to hear of us."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        microseconds = environ.get("WATCHDOG_USEC", "")
        # The variables reach child processes too, and are not meant for them.
        ours = environ.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
        self.watchdog = int(microseconds) / 1e6 if self._address and ours and microseconds.isdecimal() else 0.0
        self._log = get_logger()

    def ready(self) -> None:
        """Say that jobs are taken, at the start or after a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` must follow."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1")

    async def watch(self, live: Callable[[], bool]) -> None:
        """Give a sign of life twice in each watchdog period while `live` says so, until cancelled.

        That this task gets its turn says that the event loop answers.
        """
        while self.watchdog:
            if live():
                self._tell("WATCHDOG=1")
            await anyio.sleep(self.watchdog / 2)

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        # A name that begins with "@" is in the kernel's abstract namespace, where it begins with a zero byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as out:
                out.sendto(state.encode(), address)
        except OSError as error:
            self._log.warning("systemd.unheard", state=state.partition("=")[0], error=str(error))
