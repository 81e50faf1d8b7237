"""What a worker process has given up, as the kernel tells it, and that it dies with its parent."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wasmq.pool.process import PYTHON_FLAGS, spawn
from wasmq_worker.protocol import Assignment, Map, Prices, Ready, Setup, Signature, Splitter, Start, pack

from .driver import GUESTS, PATIENCE, bury, confined, process_status, shut_in, until_gone
from .driver import spawn as spawn_here

if TYPE_CHECKING:
    from collections.abc import Callable

    from .driver import Compiler, Worker

# A process that is not dumpable shows some of itself only to CAP_SYS_PTRACE; without it the refusal is the test.
MAY_LOOK = bool(int(process_status(os.getpid(), "CapEff"), 16) >> 19 & 1)
may_look = pytest.mark.skipif(not MAY_LOOK, reason="looking into a worker takes CAP_SYS_PTRACE")


@pytest.fixture
def busy(open_worker: Callable[..., Worker]) -> Worker:
    """A worker in the middle of a job, with modules of both kinds mapped."""
    worker = open_worker()
    worker.run(GUESTS / "grow.wat", "grow", 3)
    worker.until_underway(worker.start(worker.assign(worker.map(GUESTS / "loop.wat"), "spin", fuel=10**15)))
    return worker


def limit(pid: int, name: str) -> list[str]:
    """Return a line of /proc/PID/limits: soft and hard limit."""
    for line in Path(f"/proc/{pid}/limits").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return line.removeprefix(name).split()[:2]
    raise KeyError(name)


def test_no_new_privileges(busy: Worker) -> None:
    """Nothing that a worker could execute would give it more rights than it has."""
    assert busy.status("NoNewPrivs") == "1"


def test_no_core_dumps(busy: Worker) -> None:
    """A crash writes no memory of other tenants' jobs to a disk."""
    assert limit(busy.pid, "Max core file size") == ["0", "0"]


def test_files_are_for_the_owner_only(busy: Worker) -> None:
    """The mask takes every right from group and others."""
    assert busy.status("Umask") == "0077"


def test_one_thread(busy: Worker) -> None:
    """A worker is one thread: what pre-empts a guest is its fuel and nothing else."""
    assert busy.status("Threads") == "1"


@may_look
def test_only_the_standard_three_and_the_channel_are_open(busy: Worker) -> None:
    """No other descriptor of the scheduler's is open in a worker that runs; the engine keeps one for each artifact."""
    targets = {path.name: str(path.readlink()) for path in Path(f"/proc/{busy.pid}/fd").iterdir()}
    record = targets.pop("0")
    assert record.startswith("/memfd:wasmq-begun")
    assert targets.pop("1") == "/dev/null"
    assert targets.pop("2").startswith("pipe:")
    artifacts = [target for target in targets.values() if target.endswith(".cwasm")]
    (channel,) = set(targets.values()) - {*artifacts, record}
    assert len(artifacts) == 2
    assert channel.startswith("socket:")


@may_look
def test_the_working_directory_is_the_root(busy: Worker) -> None:
    """A worker holds no directory that somebody may want to unmount or remove, but the one that it reads from."""
    there = Path(f"/proc/{busy.pid}")
    assert (there / "cwd").readlink() == (there / "root").readlink()


@pytest.mark.skipif(MAY_LOOK, reason="with CAP_SYS_PTRACE one may look into any process")
def test_its_equals_cannot_look_into_it(busy: Worker) -> None:
    """Another process of the same user can neither read a worker's memory nor see where it is."""
    with pytest.raises(PermissionError):
        Path(f"/proc/{busy.pid}/mem").read_bytes()
    with pytest.raises(PermissionError):
        Path(f"/proc/{busy.pid}/cwd").readlink()


async def test_a_process_is_spawned_without_the_schedulers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets in the scheduler's environment are not in that of the processes it starts, from their first moment."""
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = await spawn(
            [sys.executable, *PYTHON_FLAGS, "-c", _TELL, str(theirs.fileno()), "initial"], theirs.fileno()
        )
        theirs.close()
        told = _told(ours)
        await child.wait()
        await child.bury()
    assert told["initial"] == []
    assert told["session"] == child.pid


_TELL = """
import ctypes, json, os, resource, socket, sys
from wasmq_worker import sandbox
from wasmq_worker.protocol import Sandbox
descriptor = int(sys.argv[1])
told = {"initial": open("/proc/self/environ", "rb").read().decode().split("\\0")[:-1]}
leak = os.open("/", os.O_RDONLY)
extra = os.dup2(leak, 200, inheritable=True)
os.environ["SECRET"] = "hunter2"
sandbox.begin(descriptor)
sandbox.enclose("worker", Sandbox(without=("seccomp", "landlock", "root")), machine_code=True)
open_now = []
for number in range(1024):
    try:
        os.fstat(number)
    except OSError:
        continue
    open_now.append(number)
libc = ctypes.CDLL(None)
getenv = libc.getenv
getenv.restype = ctypes.c_char_p
death = ctypes.c_int()
libc.prctl(2, ctypes.byref(death), 0, 0, 0)
told |= {
    "environ": dict(os.environ),
    "secret": getenv(b"SECRET"),
    "open": open_now,
    "cwd": os.getcwd(),
    "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "dumpable": libc.prctl(3, 0, 0, 0, 0),
    "no_new_privileges": libc.prctl(39, 0, 0, 0, 0),
    "death": death.value,
    "session": os.getsid(0),
}
socket.socket(fileno=descriptor).sendall(json.dumps(told).encode())
"""


def _told(stream: socket.socket) -> dict[str, Any]:
    stream.settimeout(PATIENCE)
    data = b""
    while piece := stream.recv(65_536):
        data += piece
    told: dict[str, Any] = json.loads(data)
    return told


def test_a_process_that_enters_the_sandbox_says_what_is_left_to_it() -> None:
    """Seen from inside, whoever looks: no variables, the four descriptors, no dump, no rights to gain, bound to die."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _TELL, str(theirs.fileno())],
                env={"SECRET": "hunter2"},
                pass_fds=(theirs.fileno(),),
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (250, 300)),
            )
            descriptor = theirs.fileno()
        told = _told(ours)
        assert process.wait(PATIENCE) == 0
    assert told["initial"] == ["SECRET=hunter2"]
    assert (told["environ"], told["secret"]) == ({}, None)
    assert told["open"] == [0, 1, 2, descriptor]
    assert told["cwd"] == "/"
    assert told["core"] == [0, 0]
    assert told["descriptors"] == [300, 300]  # as many as it may: each module that it maps takes one
    assert told["dumpable"] == 0
    assert told["no_new_privileges"] == 1
    assert told["death"] == signal.SIGKILL


_PARENT = """
import os, subprocess, sys
record = os.memfd_create("wasmq-begun")
os.ftruncate(record, 4096)
child = subprocess.Popen(
    [sys.executable, "-I", "-m", sys.argv[1], sys.argv[2]],
    env={}, stdin=record, start_new_session=True, pass_fds=(int(sys.argv[2]),),
)
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_worker_dies_with_its_parent(compiler: Compiler, busy: bool) -> None:
    """The scheduler killed outright leaves no worker behind, even if somebody else holds the channel open."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    with ours, theirs:
        parent, pidfd = _parent("wasmq_worker", theirs)
        sandbox = confined(compiler.directory, parent=parent.pid)
        ours.sendall(pack(Setup("native", 100_000, 8, 0.01, Prices(1_000, 1), sandbox=sandbox)))
        splitter = Splitter()
        while not (frames := splitter.feed(ours.recv(65_536))):
            pass
        assert Ready.__name__.encode() in frames[0]
        if busy:
            _, artifact = compiler.artifact((GUESTS / "loop.wat").read_bytes(), "native")
            ours.sendall(
                pack(Map(1, str(artifact), False, False, 0, -1, (Signature(0, (), ()),)))
                + pack(Start([Assignment(1, 1, 0, (), 10**15, 0, 3600.0, 0, 0, 1.0)]))
            )
            while not any(b"Underway" in frame for frame in splitter.feed(ours.recv(65_536))):
                pass
        # This process still holds both ends, so it is not the end of the channel that the worker sees.
        parent.kill()
        _gone(parent, pidfd)


def test_a_worker_whose_parent_has_ended_already_ends_too(compiler: Compiler) -> None:
    """A scheduler that dies while its worker starts, before the kernel was told to watch it, leaves none behind."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = spawn_here("wasmq_worker", theirs)
        sandbox = confined(compiler.directory, parent=process.pid)  # whoever that is, it is not the parent
        ours.sendall(pack(Setup("native", 100_000, 8, 0.01, Prices(1_000, 1), sandbox=sandbox)))
        assert process.wait(PATIENCE) == 1
        bury(process)


def test_the_compile_process_dies_with_its_parent(tmp_path: Path) -> None:
    """So does the process that waits to compile."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        parent, pidfd = _parent("wasmq_worker.compiler", theirs)
        shut_in(ours, confined(tmp_path, parent=parent.pid, without=("root", "user")))
        a, b = socket.socketpair()
        with a, b:  # an answer proves that it is past its start
            socket.send_fds(ours, [b"c"], [b.fileno()])
            b.close()
            a.settimeout(PATIENCE)
            a.shutdown(socket.SHUT_WR)
            assert a.recv(1) == b""
        parent.kill()
        _gone(parent, pidfd)


def test_a_compilation_dies_with_the_process_that_forked_it(tmp_path: Path) -> None:
    """What is being compiled is not left behind when the waiting process is killed, not even in its first moment."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            nursery = spawn_here("wasmq_worker.compiler", theirs)
        shut_in(ours, confined(tmp_path, without=("root", "user")))
        a, b = socket.socketpair()
        with a:
            with b:
                socket.send_fds(ours, [b"c"], [b.fileno()])
            # The child waits for a request that does not come; only its end can close the connection.
            a.settimeout(PATIENCE)
            children = Path(f"/proc/{nursery.pid}/task/{nursery.pid}/children")
            while not children.read_text(encoding="ascii").split():
                pass
            nursery.kill()
            assert a.recv(1) == b""
        bury(nursery)


def _parent(module: str, theirs: socket.socket) -> tuple[subprocess.Popen[bytes], int]:
    """Start a process that starts one of ours and waits for it; returns it and a pidfd of the inner one."""
    parent = subprocess.Popen(
        [sys.executable, "-I", "-c", _PARENT, module, str(theirs.fileno())],
        stdout=subprocess.PIPE,
        pass_fds=(theirs.fileno(),),
    )
    assert parent.stdout is not None
    return parent, os.pidfd_open(int(parent.stdout.readline()))


def _gone(parent: subprocess.Popen[bytes], pidfd: int) -> None:
    try:
        until_gone(pidfd)
    finally:
        os.close(pidfd)
        parent.wait(PATIENCE)
        assert parent.stdout is not None
        parent.stdout.close()
