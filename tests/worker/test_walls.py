"""Each wall around a worker, tried from inside with native code as somebody would who got out of the engine.

Where a test leaves all other walls out, the one that it is about holds alone.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wasmq_worker.sandbox import landlock

from .driver import SOMEBODY
from .escapes import ROOT, Escape, Prisoner, escape, escapes, only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .driver import Worker

X86 = platform.machine() == "x86_64"
as_root = pytest.mark.skipif(not ROOT, reason="only a root daemon changes its workers' user, root directory and rights")


def _landlock() -> int:
    try:
        return landlock.abi()
    except OSError:
        return 0


def needs_landlock(version: int) -> pytest.MarkDecorator:
    """Skip where the kernel's Landlock is older than what a test is about."""
    return pytest.mark.skipif(_landlock() < version, reason=f"this kernel has no Landlock of version {version}")


@contextmanager
def directory() -> Iterator[Path]:
    """A directory of artifacts with one file, and beside it a file that is none of a worker's business.

    Not below pytest's own, which only its owner may enter.
    """
    with tempfile.TemporaryDirectory(prefix="wasmq-walls-") as made:
        artifacts = Path(made) / "artifacts"
        artifacts.mkdir()
        (artifacts / "one.cwasm").write_bytes(b"artifact")
        (artifacts.parent / "secret").write_text("hunter2", encoding="ascii")
        for path in (artifacts.parent, artifacts):
            path.chmod(0o755)
        yield artifacts


@pytest.fixture
def artifacts() -> Iterator[Path]:
    """Such a directory for one test."""
    with directory() as made:
        yield made


@pytest.fixture
def prisoner(artifacts: Path) -> Iterator[Callable[..., Prisoner]]:
    """Start processes in the sandbox that live until they have told all."""
    made = []

    def start(attempt: str, **options: object) -> Prisoner:
        made.append(Prisoner(artifacts, attempt, **options))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for each in made:
        each.close()


# All walls together.


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_every_wall_stands_around_a_worker(open_worker: Callable[..., Worker], engine: str) -> None:
    """A worker says of each wall that it stands, where this kernel has it and there is something to hold back."""
    states = {name: wall.state for name, wall in open_worker(engine).walls.items()}
    assert states.pop("landlock") == ("up" if _landlock() else "down")
    for name in ("root", "user"):
        assert states.pop(name) == ("up" if ROOT else "moot")
    assert set(states.values()) == {"up"}


def test_the_compile_process_is_behind_the_same_walls(compiler: object) -> None:
    """So does the compile process."""
    states = {wall.name: wall.state for wall in compiler.walls}  # type: ignore[attr-defined]
    assert states["seccomp"] == states["memory"] == states["code"] == "up"
    assert states["landlock"] == ("up" if _landlock() else "down")


def test_a_wall_that_was_left_out_is_said_to_be_down(open_worker: Callable[..., Worker]) -> None:
    """Nobody takes a worker for shut in that is not."""
    wall = open_worker(without=("seccomp",)).walls["seccomp"]
    assert (wall.state, "sandbox.without" in wall.detail) == ("down", True)


# The filter of system calls: what an honest worker never does ends the process.

FORBIDDEN = {
    "make a socket": 'tell(call("socket", socket.AF_INET, socket.SOCK_STREAM, 0))',
    "make a Unix socket": 'tell(call("socket", socket.AF_UNIX, socket.SOCK_STREAM, 0))',
    "make a pair of sockets": 'tell(call("socketpair", socket.AF_UNIX, socket.SOCK_STREAM, 0, (ctypes.c_int * 2)()))',
    "connect": 'tell(call("connect", 0, b"", 0))',
    "receive descriptors": 'tell(call("recvmsg", channel.fileno(), ctypes.create_string_buffer(100), 0))',
    "execute a file": 'tell(call("execve", b"/bin/sh", None, None))',
    "fork": 'tell(call("fork"))',
    "vfork by clone": 'tell(call("syscall", 56, 0x4111, 0, 0, 0, 0))',
    "start a thread": "threading.Thread(target=lambda: None).start(); tell('done')",
    "make a namespace": 'tell(call("unshare", 0x10000000))',
    "enter a namespace": 'tell(call("setns", 0, 0))',
    "trace the parent": 'tell(call("ptrace", 16, parent, None, None))',
    "be traced": 'tell(call("ptrace", 0, 0, None, None))',
    "read the parent's memory": 'tell(call("process_vm_readv", parent, None, 0, None, 0, 0))',
    "kill the parent": 'tell(call("kill", parent, 0))',
    "kill itself and others": 'tell(call("kill", -1, 0))',
    "signal the parent's thread": 'tell(call("syscall", 234, parent, parent, 0))',
    "open a pidfd": 'tell(call("syscall", 434, parent, 0))',
    "mount": 'tell(call("mount", b"none", b"/", b"tmpfs", 0, None))',
    "change the root": 'tell(call("chroot", b"/"))',
    "write a file": 'tell(call("open", b"/one.cwasm", os.O_WRONLY))',
    "create a file": 'tell(call("open", b"/new", os.O_RDONLY | os.O_CREAT, 0o600))',
    "truncate a file": 'tell(call("open", b"/one.cwasm", os.O_RDONLY | os.O_TRUNC))',
    "have a handle on a file": 'tell(call("open", b"/etc/passwd", os.O_PATH))',
    "remove a file": 'tell(call("unlink", b"/one.cwasm"))',
    "rename a file": 'tell(call("rename", b"/one.cwasm", b"/two"))',
    "link a file": 'tell(call("link", b"/one.cwasm", b"/two"))',
    "make a directory": 'tell(call("mkdir", b"/new", 0o700))',
    "change a file's mode": 'tell(call("fchmod", channel.fileno(), 0o777))',
    "duplicate a descriptor": 'tell(call("dup", 0))',
    "make memory with a name": 'tell(call("memfd_create", b"x", 0))',
    "become root": 'tell(call("setuid", 0))',
    "change a group": 'tell(call("setgid", 0))',
    "be dumpable again": 'tell(call("prctl", 4, 1, 0, 0, 0))',
    "outlive the parent": 'tell(call("prctl", 1, 0, 0, 0, 0))',
    "lay down the filter": 'tell(call("prctl", 22, 0, 0, 0, 0))',
    "load a program into the kernel": 'tell(call("syscall", 321, 0, None, 0))',
    "queue system calls": 'tell(call("syscall", 425, 8, ctypes.create_string_buffer(200)))',
    "measure the machine": 'tell(call("syscall", 298, None, 0, -1, -1, 0))',
    "handle page faults": 'tell(call("syscall", 323, 0))',
    "keep a key": 'tell(call("syscall", 250, 0, 0, 0, 0, 0))',
    "load a module": 'tell(call("syscall", 175, None, 0, b""))',
    "share memory of System V": 'tell(call("shmget", 1, 4096, 0o1000))',
    "take a personality": 'tell(call("personality", 0x0040000))',
    "set the clock": 'tell(call("syscall", 227, 0, None))',
}
NUMBERED = {name for name, attempt in FORBIDDEN.items() if "syscall" in attempt}


def ids(attempts: dict[str, str]) -> list[str]:
    """Names as pytest likes them."""
    return [name.replace(" ", "-") for name in attempts]


@pytest.fixture(scope="module")
def forbidden() -> dict[str, Escape]:
    """How all of these went, behind the filter alone."""
    with directory() as artifacts:
        attempts = {name: attempt for name, attempt in FORBIDDEN.items() if X86 or name not in NUMBERED}
        return escapes(artifacts, attempts, without=only("seccomp"))


@pytest.mark.parametrize("what", FORBIDDEN, ids=ids(FORBIDDEN))
def test_a_forbidden_call_ends_the_process(forbidden: dict[str, Escape], what: str) -> None:
    """The filter alone: one call that no honest worker makes, and the process is gone before it returns."""
    if what not in forbidden:
        pytest.skip("written with the numbers of x86-64")
    assert forbidden[what].walls["seccomp"] == "up"
    assert forbidden[what].killed


REFUSED = {
    "ioctl": ('tell(call("ioctl", 0, 0x5401, ctypes.create_string_buffer(100)))', "ENOTTY"),
    "ioctl that sets an owner": (
        'tell(call("ioctl", channel.fileno(), 0x8902, ctypes.byref(ctypes.c_int(parent))))',
        "ENOTTY",
    ),
    "fcntl that sets an owner": ('tell(call("fcntl", channel.fileno(), 8, parent))', "EPERM"),
    "limits": ('tell(call("setrlimit", resource.RLIMIT_CORE, (ctypes.c_long * 2)(1, 1)))', "EPERM"),
    "clone3": ('tell(call("syscall", 435, ctypes.create_string_buffer(88), 88))', "ENOSYS"),
}


def test_what_honest_code_tries_is_refused(artifacts: Path) -> None:
    """What a C library or Python may try without harm fails, and does nothing."""
    found = escapes(artifacts, {name: attempt for name, (attempt, _) in REFUSED.items()}, without=only("seccomp"))
    assert {name: outcome.told for name, outcome in found.items()} == {
        name: [refusal] for name, (_, refusal) in REFUSED.items()
    }


@pytest.mark.skipif(not X86, reason="other architectures have no second table of system calls here")
def test_the_numbers_of_x32_are_no_way_around(artifacts: Path) -> None:
    """The same calls by their numbers in the x32 table end the process as well."""
    attempts = {str(number): f'tell(call("syscall", {0x40000000 | number}, 0, 0, 0))' for number in (41, 57, 59)}
    assert all(outcome.killed for outcome in escapes(artifacts, attempts, without=only("seccomp")).values())


_INT80 = """
# push rbx; mov eax, 20 (getpid of the 32-bit table); int 0x80; pop rbx; ret
code = b"\\x53\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\x5b\\xc3"
page = libc.mmap(None, 4096, 3, 0x22, -1, 0)
libc.memmove(page, code, len(code))
assert libc.mprotect(page, 4096, 5) == 0
tell("made")
tell(ctypes.CFUNCTYPE(ctypes.c_int)(page)())
"""


@pytest.mark.skipif(not X86, reason="machine code of x86-64")
def test_the_numbers_of_32_bits_are_no_way_around(artifacts: Path) -> None:
    """Machine code that calls the kernel through its 32-bit door, where numbers mean other calls, is its last."""
    outcome = escape(artifacts, _INT80, without=only("seccomp"))
    assert (outcome.told, outcome.signal) == (["made"], signal.SIGSYS)


# Memory and code.


def test_without_machine_code_nothing_new_can_be_run(artifacts: Path) -> None:
    """With the interpreter there is no way to memory that can be run: neither made, nor changed into it."""
    told = escape(
        artifacts,
        """
tell(call("mmap", None, 4096, mmap.PROT_READ | mmap.PROT_EXEC, 0x22, -1, 0))
tell(call("mmap", None, 4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC, 0x22, -1, 0))
page = libc.mmap(None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, 0x22, -1, 0)
tell(call("mprotect", page, 4096, mmap.PROT_READ | mmap.PROT_EXEC))
tell(call("mprotect", page, 4096, mmap.PROT_EXEC))
tell(call("mprotect", page, 4096, mmap.PROT_READ))
file = libc.open(b"/one.cwasm" if os.path.exists("/one.cwasm") else (artifacts + "/one.cwasm").encode(), os.O_RDONLY)
tell(call("mmap", None, 4096, mmap.PROT_READ | mmap.PROT_EXEC, 0x02, file, 0))
""",
        without=only("seccomp"),
        machine_code=False,
    ).told
    assert told == ["EPERM", "EPERM", "EPERM", "EPERM", "done", "EPERM"]


def test_no_memory_can_be_both_written_and_run(artifacts: Path) -> None:
    """With machine code, what can be run cannot be written: it comes from artifacts, or is first made and then run."""
    told = escape(
        artifacts,
        """
tell(call("mmap", None, 4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC, 0x22, -1, 0))
page = libc.mmap(None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, 0x22, -1, 0)
tell(call("mprotect", page, 4096, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
tell(call("mprotect", page, 4096, mmap.PROT_READ | mmap.PROT_EXEC))
""",
        without=only("seccomp"),
    ).told
    assert told == ["EPERM", "EPERM", "done"]


def test_memory_is_never_shared(artifacts: Path) -> None:
    """Nothing that one process writes can be read by another: no mapping is shared."""
    attempt = 'tell(call("mmap", None, 4096, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | 0x20, -1, 0))'
    assert escape(artifacts, attempt, without=only("seccomp")).told == ["EPERM"]


def test_code_that_is_there_cannot_be_changed(artifacts: Path) -> None:
    """What callbacks are called through was written when it was made, and cannot be written again."""
    made = "keep = [ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7) for _ in range(200)]"
    attempt = "tell(len(code.writable())); tell(keep[0]())"
    before = escape(artifacts, f"{made}\ntell(len(code.writable()))", without=only())
    assert before.told == [before.told[0]]
    sealed = escape(artifacts, f"{made}\nfrom wasmq_worker.sandbox.code import seal\nseal()\n{attempt}", without=only())
    assert sealed.told == [0, 7]
    if before.told[0]:  # where libffi keeps its trampolines in such memory
        written = escape(
            artifacts,
            f"{made}\nstart = code.writable()[0][0]\ncode.seal()\ntell('sealed')\n"
            "libc.memmove(start, b'x', 1)\ntell('written')",
            without=only(),
        )
        assert (written.told, written.signal) == (["sealed"], signal.SIGSEGV)


# Landlock: files, ports and signals, with nothing else in the way.


@needs_landlock(1)
def test_landlock_leaves_nothing_to_read_but_artifacts(artifacts: Path) -> None:
    """A file of the system, one beside the artifacts and a directory cannot be opened; an artifact can."""
    told = escape(
        artifacts,
        """
for path in ("/etc/passwd", artifacts + "/../secret", "/proc/self/environ", "/proc/%d/mem" % parent, "/dev/null"):
    tell(call("open", path.encode(), os.O_RDONLY))
tell(call("open", b"/", os.O_RDONLY | os.O_DIRECTORY))
tell(call("open", artifacts.encode(), os.O_RDONLY | os.O_DIRECTORY))
tell(call("open", (artifacts + "/one.cwasm").encode(), os.O_RDONLY))
""",
        without=only("landlock"),
        uid=None,
    ).told
    assert told == ["EACCES"] * 7 + ["done"]


@needs_landlock(1)
def test_landlock_leaves_nothing_to_write(artifacts: Path) -> None:
    """Nothing is written, made, renamed or removed, not even among the artifacts."""
    told = escape(
        artifacts,
        """
here = artifacts.encode()
tell(call("open", here + b"/one.cwasm", os.O_WRONLY))
tell(call("open", here + b"/one.cwasm", os.O_RDWR | os.O_TRUNC))
tell(call("open", here + b"/new", os.O_WRONLY | os.O_CREAT, 0o600))
tell(call("open", b"/tmp", os.O_WRONLY | 0o20200000, 0o600))
tell(call("unlink", here + b"/one.cwasm"))
tell(call("rename", here + b"/one.cwasm", here + b"/two"))
tell(call("mkdir", here + b"/new", 0o700))
tell(call("symlink", b"/etc/passwd", here + b"/passwd"))
""",
        without=only("landlock"),
        uid=None,
    ).told
    assert told == ["EACCES"] * 8
    assert (artifacts / "one.cwasm").read_bytes() == b"artifact"


@needs_landlock(4)
def test_landlock_leaves_no_port(artifacts: Path) -> None:
    """A connection to this very machine is refused, and so is listening."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = escape(
            artifacts,
            """
def address(port):
    return b"\\x02\\x00" + port.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
made = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
tell(call("connect", made, address(port), 16))
tell(call("bind", made, address(0), 16))
""",
            without=only("landlock"),
            uid=None,
            port=server.getsockname()[1],
        ).told
    assert told == ["EACCES", "EACCES"]


@needs_landlock(6)
def test_landlock_lets_nobody_outside_be_reached(artifacts: Path) -> None:
    """Neither a signal to the parent nor a connection to an abstract Unix socket gets out."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(f"\0wasmq-{os.getpid()}")
        server.listen()
        told = escape(
            artifacts,
            """
tell(call("kill", parent, signal.SIGCONT))
made = libc.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0)
path = b"\\x01\\x00\\x00" + name.encode()
tell(call("connect", made, path, len(path)))
""",
            without=only("landlock"),
            uid=None,
            name=f"wasmq-{os.getpid()}",
        ).told
    assert told == ["EPERM", "EPERM"]


# Who it is, and what that may do.


@as_root
def test_the_user_is_nobody(artifacts: Path) -> None:
    """The worker of a root daemon is a user without groups, cannot go back, and cannot touch what is root's."""
    secret = artifacts / "secret"
    secret.write_bytes(b"")
    secret.chmod(0o600)
    told = escape(
        artifacts,
        """
tell([os.getresuid(), os.getresgid(), os.getgroups()])
for what in (("setuid", 0), ("setresuid", 0, 0, 0), ("setgid", 0), ("kill", parent, 0), ("ptrace", 16, parent, 0, 0)):
    tell(call(*what))
tell(call("open", (artifacts + "/secret").encode(), os.O_RDONLY))
tell(call("open", (artifacts + "/new").encode(), os.O_WRONLY | os.O_CREAT, 0o600))
tell(call("open", b"/proc/%d/mem" % parent, os.O_RDONLY))
""",
        without=only("user"),
    ).told
    assert told[0] == [[SOMEBODY] * 3, [SOMEBODY] * 3, []]
    assert told[1:] == ["EPERM"] * 5 + ["EACCES"] * 3


@as_root
def test_root_without_capabilities_is_nobody_either(artifacts: Path) -> None:
    """Even as user 0 the process can neither mount, nor change its root or its files' owner, nor take powers back."""
    told = escape(
        artifacts,
        """
tell(open("/proc/self/status").read())
for what in (
    ("mount", b"none", b"/mnt", b"tmpfs", 0, None), ("chroot", b"/"), ("unshare", 0x20000),
    ("chown", (artifacts + "/one.cwasm").encode(), 7, 7), ("sethostname", b"x", 1),
    ("prctl", 24, 0, 0, 0, 0), ("prctl", 28, 0, 0, 0, 0), ("prctl", 47, 2, 1, 0, 0),
):
    tell(call(*what))
""",
        without=only("capabilities", "bounds"),
    ).told
    sets = dict(line.split(":\t") for line in told[0].splitlines() if line.startswith("Cap"))
    assert {name: int(value, 16) for name, value in sets.items()} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0
    )
    assert told[1:] == ["EPERM"] * 8


@as_root
def test_executing_a_file_gives_root_nothing_back(artifacts: Path) -> None:
    """What user 0 executes has no capability: neither the bounding set nor the bits that make root root are left."""
    attempt = r"""
channel.set_inheritable(True)
os.dup2(channel.fileno(), 1)
program = "while read name value; do case $name in Cap*) printf '\"%s%s\"\\n' $name $value;; esac; done"
program += " < /proc/self/status"
os.execv("/bin/sh", ["sh", "-c", program])
"""
    told = escape(artifacts, attempt, without=only("capabilities", "bounds")).told
    assert len(told) == 5
    assert all(int(line.partition(":")[2], 16) == 0 for line in told)


@as_root
def test_the_root_directory_holds_artifacts_and_nothing_else(artifacts: Path) -> None:
    """No path leads to any other file, not even upwards."""
    told = escape(
        artifacts,
        """
tell(sorted(os.listdir("/")))
for path in (b"/etc/passwd", b"/../etc/passwd", b"../secret", b"/proc/self/status", artifacts.encode()):
    tell(call("open", path, os.O_RDONLY))
tell(call("open", b"/one.cwasm", os.O_RDONLY))
""",
        without=only("root"),
        uid=None,
    ).told
    assert told == [["one.cwasm"], *["ENOENT"] * 5, "done"]


def test_a_daemon_that_is_not_root_changes_nobody(artifacts: Path) -> None:
    """Without root there is no other user to be and no root directory to move: that is said, and is no wall missing."""
    attempt = "tell(os.getuid() == os.geteuid())"
    if ROOT:
        outcome = escape(artifacts, attempt, uid=None, without=only("user"))
        assert outcome.walls["user"] == "down"  # root that was told no user stays root, and says so
    else:
        outcome = escape(artifacts, attempt)
        assert (outcome.walls["user"], outcome.walls["root"]) == ("moot", "moot")


# What it inherits, and who may look.


def test_nothing_is_inherited(artifacts: Path) -> None:
    """No variable, no descriptor but the standard three and the channel, no working directory, a session of its own."""
    inherited = os.open(artifacts.parent / "secret", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        told = escape(
            artifacts,
            """
libc.getenv.restype = ctypes.c_char_p
tell([dict(os.environ), libc.getenv(b"SECRET") is None])
tell([number for number in range(200) if libc.fcntl(number, 1) >= 0])
tell([os.getcwd(), os.getsid(0) == os.getpid(), channel.fileno()])
""",
            without=only(),
            environment={"SECRET": "hunter2"},
        ).told
    finally:
        os.close(inherited)
    assert told[0] == [{}, True]
    assert told[1] == [0, 1, 2, told[2][2]]
    assert told[2][:2] == ["/", True]


LOOK = """
for name in ("mem", "environ", "maps", "cwd", "root", "fd"):
    path = b"/proc/%d/%s" % (victim, name.encode())
    tell(call("open", path, os.O_RDONLY))
tell(call("ptrace", 16, victim, 0, 0))
"""


@as_root
@pytest.mark.parametrize("hidden", [True, False], ids=["behind-the-wall", "without-it"])
def test_equals_cannot_look_into_each_other(prisoner: Callable[..., Prisoner], hidden: bool) -> None:
    """Another process of the same user can neither read its memory nor trace it; without the wall it could."""
    # A change of user does the same until it is undone, so without the wall that is what the process does.
    bare = "" if hidden else "call('prctl', 4, 1, 0, 0, 0);"
    victim = prisoner(f"{bare}tell('here'); channel.recv(1)", without=only("user", *["memory"] * hidden))
    assert victim.next() == "here"
    told = prisoner(LOOK, without=only("user", "capabilities"), victim=victim.process.pid).end().told
    if hidden:
        assert set(told) <= {"EACCES", "EPERM"}
    else:
        assert told[:3] == ["done"] * 3


def test_a_worker_is_killed_before_the_daemon(prisoner: Callable[..., Prisoner]) -> None:
    """When memory runs out, the kernel prefers a worker to the daemon that started it."""
    victim = prisoner("tell('here'); channel.recv(1)")
    assert victim.next() == "here"
    ours, its = (
        int(Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii")) for pid in ("self", victim.process.pid)
    )
    assert its > ours or ours == its == 1_000


# Limits.


def test_limits_hold_alone(artifacts: Path) -> None:
    """Without any other wall no byte is written to a file, and no limit can be raised again."""
    told = escape(
        artifacts,
        """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
made = libc.open(b"/tmp/wasmq-%d" % os.getpid(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
libc.unlink(b"/tmp/wasmq-%d" % os.getpid())
tell(call("write", made, b"x", 1))
tell(call("ftruncate", made, 1))
for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_MEMLOCK):
    tell(resource.getrlimit(limit))
""",
        without=only("limits"),
        uid=None,
    ).told
    assert told == ["EFBIG", "EFBIG", *[[0, 0]] * 4]


@as_root
def test_a_limited_user_can_neither_fork_nor_raise_its_limits(artifacts: Path) -> None:
    """For a user who is not root the limits are for good: no process, no thread, no file, no core dump."""
    told = escape(
        artifacts,
        """
tell(call("fork"))
for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_MEMLOCK):
    tell(call("setrlimit", limit, (ctypes.c_long * 2)(1, 1)))
""",
        without=only("limits", "user", "capabilities"),
    ).told
    assert told == ["EAGAIN", *["EPERM"] * 4]


# The compile process.


def test_a_compilation_may_have_threads_but_no_processes(artifacts: Path) -> None:
    """What is forked for one module starts threads, as a compiler does, and can neither fork nor open anything."""
    attempt = """
sandbox.narrow(settings, machine_code=True)
made = threading.Thread(target=lambda: tell("a thread"))
made.start()
made.join()
tell(call("open", (artifacts + "/one.cwasm").encode(), os.O_RDONLY))
tell(call("open", b"/one.cwasm", os.O_RDONLY))
tell(call("fork"))
"""
    outcome = escape(artifacts, attempt, role="compiler")
    assert outcome.told == ["a thread", "EACCES", "EACCES"]
    assert outcome.signal == signal.SIGSYS


NO_USE = ("make a socket", "execute a file", "make a namespace", "trace the parent", "kill the parent")


@pytest.mark.parametrize("narrow", [False, True], ids=["waiting", "compiling"])
def test_a_compiler_has_no_way_out_either(artifacts: Path, narrow: bool) -> None:
    """Neither the process that waits nor the one that compiles makes a call that a compiler has no use for."""
    first = "sandbox.narrow(settings, machine_code=True)\n" if narrow else ""
    attempts = {name: first + FORBIDDEN[name] for name in NO_USE}
    found = escapes(artifacts, attempts, role="compiler", without=only("seccomp"))
    assert [name for name, outcome in found.items() if not outcome.killed] == []
