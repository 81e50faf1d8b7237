"""What `make run` does: start the daemon, run a first job on it, and keep it until Ctrl-C.

    python examples/run_daemon.py PORT

The exit status is the daemon's: 0 when Ctrl-C, SIGTERM or the terminal's end stopped it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PATIENCE = 60  # seconds that the daemon gets to be ready


class Daemon:
    """`wasmq serve`, which gets the signals that come to this process."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.stopping = False
        # In a group of its own, or Ctrl-C would reach it twice, and the second time ends it at once.
        command = [sys.executable, "-m", "wasmq", "serve", "--host", "127.0.0.1", "--port", str(port)]
        self.process = subprocess.Popen(command, process_group=0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._pass_on)

    def ready(self) -> bool:
        """Wait until it takes jobs; False when it ended, was told to, or took too long."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and not self.stopping and time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz").status_code == httpx.codes.OK:
                    return True
            time.sleep(0.05)
        return False

    def _pass_on(self, number: int, _frame: object) -> None:
        self.stopping = True
        self.process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)


@contextlib.contextmanager
def own_terminal() -> Iterator[None]:
    """Take the terminal, so that Ctrl-C comes here alone: `make`, which started this, would call it an error."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:  # there is none
        yield
        return
    owner = os.tcgetpgrp(terminal)
    if owner != os.getpgrp() or owner == os.getpid():  # it is somebody else's now, or ours alone already
        yield
        return
    # The first would stop us for using the terminal, the second one by Ctrl-Z, with nobody there to wake us.
    for number in (signal.SIGTTOU, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        os.tcsetpgrp(terminal, owner)


def main(port: int) -> int:
    """Return the daemon's exit status, or 1 when it did not get ready or the first job failed."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:  # and might answer in our daemon's place
            print(f"run: port {port} is taken by another process; choose another: make run PORT=8788", file=sys.stderr)
            return 1
    with own_terminal():
        print(f"Start the daemon:\n  wasmq serve --port {port}\n", flush=True)
        daemon = Daemon(port)
        worked = (
            daemon.ready()
            and not subprocess.run([sys.executable, ROOT / "examples/over_http.py", daemon.url]).returncode
        )
        if worked:
            print(
                f"\nThe daemon is yours: {daemon.url}/schema describes its API, {daemon.url}/metrics is for Prometheus."
            )
            print("Ctrl-C ends it.", flush=True)
        elif not daemon.stopping and daemon.process.poll() is None:
            print(f"run: the daemon at {daemon.url} did not run the first job", file=sys.stderr)
            daemon.process.terminate()
        status = daemon.process.wait()
    if status < 0:
        return 128 - status
    return status if worked or daemon.stopping else status or 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
