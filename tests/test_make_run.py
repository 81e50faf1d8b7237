"""What `make run` starts: a daemon that has run a first job, and that Ctrl-C ends as it should."""

from __future__ import annotations

import functools
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent.parent / "examples" / "run_daemon.py"
LAST_LINE = b"Ctrl-C ends it."


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def modules(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon keeps its compiled modules with the tests'."""
    monkeypatch.setenv("WASMQ_MODULES__DIRECTORY", str(cache))


def test_sigint_ends_it_with_status_0(port: int) -> None:
    """The first job's value is printed, and a signal to the one who started the daemon drains the daemon."""
    with subprocess.Popen([sys.executable, RUN, str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        printed = []
        for line in run.stdout:
            printed.append(line)
            if line.startswith(LAST_LINE):
                run.send_signal(signal.SIGINT)
        logged = run.stderr.read()
    assert b"2 * 4 = 8, for 4 fuel" in b"".join(printed)
    assert b"daemon.stopped" in logged
    assert run.returncode == 0


def test_ctrl_c_does_not_reach_who_called(port: int) -> None:
    """In a terminal Ctrl-C ends the daemon with status 0, and the caller, as `make` would be, lives on to see it."""
    terminal, inside = os.openpty()
    command = f"{shlex.join([sys.executable, str(RUN), str(port)])}; echo status=$?"
    with subprocess.Popen(["sh", "-c", command], preexec_fn=functools.partial(os.login_tty, inside)):
        os.close(inside)
        printed = b""
        pressed = False
        while b"status=" not in printed or not printed.endswith(b"\n"):
            try:
                printed += os.read(terminal, 4096)
            except OSError:  # nobody is left on the other side
                break
            if not pressed and LAST_LINE in printed:
                pressed = True
                os.write(terminal, b"\x03")
    os.close(terminal)
    assert b"status=0\r\n" in printed, printed.decode()


def test_a_taken_port_is_one_line() -> None:
    """Where somebody listens already nothing is started, and one line says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = subprocess.run([sys.executable, RUN, str(port)], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == f"run: port {port} is taken by another process; choose another: make run PORT=8788\n"
