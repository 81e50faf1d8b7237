"""Real worker and compile processes, driven over frames from plain blocking code.

Nothing here waits for time to pass: every wait is for a frame or for the end of a process, and a frame that does not
come within `PATIENCE` seconds is an error of the test.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from wasmq.pool.begun import Record
from wasmq_worker.protocol import (
    MAX_ARTIFACT,
    Answer,
    Answers,
    Asked,
    Asks,
    Assignment,
    Cancel,
    Compiled,
    CompileRequest,
    CompilerReady,
    CompilerSetup,
    Decoder,
    Described,
    Ended,
    Exhausted,
    GiveUp,
    HostImport,
    Map,
    Outcomes,
    Prices,
    Pulse,
    Ready,
    Refuel,
    Rejected,
    Sandbox,
    Setup,
    Signature,
    Splitter,
    Start,
    Suspended,
    Translated,
    Underway,
    Unmap,
    Unmappable,
    Upward,
    Wall,
    pack,
    pack_raw,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PATIENCE = 60.0
SOMEBODY = 61_184  # a user that no file belongs to
GUESTS = Path(__file__).parents[2] / "workers" / "guests"
VALUE_TYPES = frozenset(("i32", "i64", "f32", "f64", "v128"))
MIB = 2**20
FUEL, MEMORY, TIMEOUT = 10**9, 16 * MIB, 60.0

_replies = msgspec.msgpack.Decoder(Compiled | Translated | Rejected)


def spawn(module: str, theirs: socket.socket, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start `python -m module FD` as the scheduler does."""
    return subprocess.Popen(
        [sys.executable, "-I", "-m", module, str(theirs.fileno())],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={},
        cwd="/",
        start_new_session=True,
        pass_fds=(theirs.fileno(),),
    )


def bury(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its children and leave nothing of it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    if process.stderr is not None:
        process.stderr.close()


def confined(artifacts: Path, **options: Any) -> Sandbox:
    """Return how a scheduler would shut a process in: as somebody else where the tests run as root."""
    somebody = SOMEBODY if os.geteuid() == 0 else None
    given = {"uid": somebody, "gid": somebody, "parent": os.getpid(), **options}
    return Sandbox(str(artifacts), **given)


def shut_in(control: socket.socket, sandbox: Sandbox, engine: str = "native") -> tuple[Wall, ...]:
    """Tell a compile process how it is shut in, and return the walls that it says it is behind."""
    control.settimeout(PATIENCE)
    control.sendall(pack(CompilerSetup(engine, sandbox)))
    splitter = Splitter()
    while not (frames := splitter.feed(control.recv(65_536))):
        pass
    return msgspec.msgpack.decode(frames[0], type=CompilerReady).walls


class Artifact(NamedTuple):
    """A compiled module on disk."""

    described: Described
    path: Path


class Compiler:
    """The waiting compile process, and the artifacts that it has made for all tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.chmod(0o711)  # whoever a worker becomes can read in it
        self._made: dict[tuple[str, bytes], Artifact] = {}
        self._control, theirs = socket.socketpair()
        with theirs:
            self.process = spawn("wasmq_worker.compiler", theirs)
        self.walls = shut_in(self._control, confined(directory))

    def close(self) -> None:
        self._control.close()
        bury(self.process)

    def ask(
        self, source: bytes, engine: str = "native", *, timeout: float = 30.0, memory: int = 2 * 2**30
    ) -> tuple[Compiled | Translated | Rejected | None, list[bytes]]:
        """Return what the compile process answers, the bytes it was given and the artifact; None when its child died.

        Text is translated first, and the bytes are then compiled, by a child each.
        """
        reply, parts = self.finish(self.begin(source, engine, timeout=timeout, memory=memory))
        if isinstance(reply, Translated):
            (source,) = parts
            reply, parts = self.finish(self.begin(source, engine, timeout=timeout, memory=memory))
        return reply, [source, *parts] if parts else []

    def begin(self, source: bytes, engine: str = "native", *, timeout: float, memory: int) -> socket.socket:
        """Hand a request over and return the connection on which the answer will come."""
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE)
        with theirs:
            socket.send_fds(self._control, [b"c"], [theirs.fileno()])
        with suppress(BrokenPipeError):  # it died early; that is an answer too
            ours.sendall(pack(CompileRequest(engine, timeout, memory)) + pack_raw(source, MAX_ARTIFACT))
        return ours

    @staticmethod
    def finish(connection: socket.socket) -> tuple[Compiled | Translated | Rejected | None, list[bytes]]:
        """Read an answer to its end."""
        splitter, parts = Splitter(MAX_ARTIFACT), []
        with connection:
            while True:
                try:
                    data = connection.recv(MIB)
                except ConnectionResetError:
                    break
                if not data:
                    break
                parts += splitter.feed(data)
        return (_replies.decode(parts[0]), parts[1:]) if parts else (None, [])

    def artifact(self, source: bytes, engine: str) -> Artifact:
        """Return a module's artifact, compiled once for all tests."""
        found = self._made.get((engine, source))
        if found is None:
            reply, parts = self.ask(source, engine)
            if not isinstance(reply, Compiled):
                raise AssertionError(f"the module does not compile: {reply}")
            path = self.directory / f"{engine}-{len(self._made)}.cwasm"
            path.write_bytes(parts[1])
            found = self._made[engine, source] = Artifact(reply.description, path)
        return found


def signatures(described: Described) -> dict[str, Signature]:
    """Return the exported functions of a module by name, those that a job can call."""
    return {
        name: Signature(position, tuple(type_[1]), tuple(type_[2]))
        for position, (name, type_) in enumerate(described.exports)
        if type_[0] == "func" and {*type_[1], *type_[2]} <= VALUE_TYPES
    }


class Mapped(NamedTuple):
    """A module as a worker knows it."""

    number: int
    calls: dict[str, int]
    described: Described


class Worker:
    """A worker process. Frames that come are sorted away as they come: see `ended`, `underway`, `pulses`."""

    def __init__(
        self,
        compiler: Compiler,
        engine: str = "native",
        *,
        quantum: int = 100_000,
        instances: int = 64,
        pulse: float = 3600.0,
        host_bytes: int = MIB,
        suspended: int = 100,
        without: tuple[str, ...] = (),
    ) -> None:
        self.engine = engine
        self.ended: dict[int, Ended] = {}
        self.order: list[int] = []  # tickets as they ended
        self.underway: set[int] = set()
        self.returned: dict[int, Unmappable] = {}
        self.pulses: list[Pulse] = []
        self.live: set[int] = set()
        self.asked: dict[int, Asked] = {}
        self.exhausted: dict[int, int] = {}  # at which cap
        self._compiler = compiler
        self._modules: dict[bytes, Mapped] = {}
        self._next = defaultdict[str, int](int)
        self._record = Record()
        self._decoder: Decoder[Any] = Decoder(Upward)
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(PATIENCE)
        with theirs:
            self.process = spawn("wasmq_worker", theirs, self._record.descriptor)
        sandbox = confined(compiler.directory, without=without)
        self.send(Setup(engine, quantum, instances, pulse, Prices(1_000, 1), host_bytes, suspended, sandbox))
        ready = self._receive()[0]
        if not isinstance(ready, Ready):
            raise AssertionError(f"the first frame was {ready}")
        self.engine_version = ready.engine_version
        self.walls = {wall.name: wall for wall in ready.walls}

    @property
    def pid(self) -> int:
        return self.process.pid

    def close(self) -> None:
        self.socket.close()
        bury(self.process)
        self._record.close()

    def begun(self) -> frozenset[int]:
        """Return the tickets that have begun, as the worker has noted them."""
        return self._record.read()

    def send(self, *frames: msgspec.Struct) -> None:
        """Send frames in one piece."""
        self.socket.sendall(b"".join(pack(frame) for frame in frames))

    def map(self, source: str | bytes | Path) -> Mapped:
        """Make a module known: WebAssembly text, bytes, or a file; the same source is mapped once."""
        if isinstance(source, Path):
            source = source.read_bytes()
        elif isinstance(source, str):
            source = source.encode()
        found = self._modules.get(source)
        if found is None:
            found = self._modules[source] = self.map_new(source)
        return found

    def map_new(
        self,
        source: bytes,
        path: Path | None = None,
        host: Sequence[HostImport] = (),
        initialise: bool = False,
        wasi: Sequence[str] = (),
    ) -> Mapped:
        """Map a module under a number of its own, from another file than its artifact when given one."""
        described, artifact = self._compiler.artifact(source, self.engine)
        exports = signatures(described)
        self._next["module"] += 1
        mapped = Mapped(self._next["module"], {name: index for index, name in enumerate(exports)}, described)
        self.send(
            Map(
                mapped.number,
                str(path or artifact),
                described.counted,
                described.start,
                described.memory,
                described.exported_memory,
                tuple(exports.values()),
                initialise=exports["_initialize"].position if initialise else -1,
                wasi=tuple(wasi),
                host=tuple(host),
            )
        )
        return mapped

    def unmap(self, module: Mapped) -> None:
        self._modules = {source: mapped for source, mapped in self._modules.items() if mapped != module}
        self.send(Unmap(module.number))

    def assign(
        self,
        module: Mapped,
        export: str,
        *args: float | bytes,
        fuel: int = FUEL,
        memory: int = MEMORY,
        timeout: float = TIMEOUT,
        share: int = 0,
        weight: float = 1.0,
        host_calls: int = 10_000,
        refuellable: bool = False,
    ) -> Assignment:
        """Return a job for `send`, under a new ticket."""
        self._next["ticket"] += 1
        ticket = self._next["ticket"]
        self.live.add(ticket)
        return Assignment(
            ticket,
            module.number,
            module.calls[export],
            args,
            fuel,
            memory,
            timeout,
            65_536,
            share,
            weight,
            host_calls=host_calls,
            refuellable=refuellable,
        )

    def start(self, *jobs: Assignment) -> list[int]:
        """Start jobs and return their tickets."""
        self.send(Start(list(jobs)))
        return [job.ticket for job in jobs]

    def run(self, source: str | bytes | Path | Mapped, export: str, *args: float | bytes, **limits: Any) -> Ended:
        """Run one job and return its outcome."""
        module = source if isinstance(source, Mapped) else self.map(source)
        (ticket,) = self.start(self.assign(module, export, *args, **limits))
        return self.outcomes([ticket])[0]

    def outcomes(self, tickets: Sequence[int]) -> list[Ended]:
        """Return the outcomes of jobs once all have come."""
        self.until(lambda: all(ticket in self.ended for ticket in tickets))
        return [self.ended[ticket] for ticket in tickets]

    def until_underway(self, tickets: Iterable[int]) -> None:
        """Return when these jobs have had a turn and want more."""
        wanted = set(tickets)
        self.until(lambda: wanted <= self.underway)

    def question(self, ticket: int) -> Asked:
        """Return the host call of a job once it has come; it is for the test to answer."""
        self.until(lambda: ticket in self.asked)
        return self.asked.pop(ticket)

    def answer(self, asked: Asked, *values: float | bytes, data: bytes | None = None, error: str | None = None) -> None:
        """Answer a host call."""
        self.send(Answers([Answer(asked.ticket, asked.call, values, data, error)]))

    def until_suspended(self, ticket: int) -> Exhausted | None:
        """Return what a job has spent once it is suspended, None once it has ended instead."""
        self.until(lambda: ticket in self.exhausted or ticket in self.ended)
        return Exhausted(ticket, self.exhausted.pop(ticket)) if ticket in self.exhausted else None

    def refuel(self, ticket: int, fuel: int) -> None:
        """Raise a job's cap to `fuel` in all."""
        self.send(Refuel(ticket, fuel))

    def give_up(self, *tickets: int, reason: str = "") -> None:
        """End suspended jobs."""
        self.send(GiveUp(list(tickets), reason))

    def cancel(self, tickets: Iterable[int]) -> list[Ended]:
        """Cancel jobs and return their outcomes."""
        tickets = list(tickets)
        self.send(Cancel(tickets))
        return self.outcomes(tickets)

    def until(self, reached: Callable[[], bool]) -> None:
        """Take in frames until something holds."""
        while not reached():
            for frame in self._receive():
                self._take(frame)

    def exit_status(self) -> int:
        """Return the exit status once the process has ended by itself."""
        return self.process.wait(PATIENCE)

    def last_words(self) -> str:
        """Return what the process wrote to stderr, once it has ended."""
        stderr = self.process.stderr
        return stderr.read().decode("utf-8", "replace") if stderr is not None else ""

    def status(self, key: str) -> str:
        """Return a line of /proc/PID/status, which any user may read."""
        return process_status(self.pid, key)

    def _take(self, frame: Upward) -> None:
        match frame:
            case Outcomes():
                for ended in frame.ended:
                    if ended.ticket not in self.live:
                        raise AssertionError(f"an outcome for a ticket that is not live: {ended}")
                    self.live.discard(ended.ticket)
                    self.ended[ended.ticket] = ended
                    self.order.append(ended.ticket)
            case Asks():
                for asked in frame.asked:
                    if asked.ticket not in self.live or asked.ticket in self.asked:
                        raise AssertionError(f"a host call out of turn: {asked}")
                    self.asked[asked.ticket] = asked
            case Underway():
                self.underway.update(frame.tickets)
            case Suspended():
                for exhausted in frame.exhausted:
                    if exhausted.ticket not in self.live or exhausted.ticket in self.exhausted:
                        raise AssertionError(f"suspended out of turn: {exhausted}")
                    self.exhausted[exhausted.ticket] = exhausted.fuel
            case Unmappable():
                for ticket in frame.tickets:
                    self.live.discard(ticket)
                    self.returned[ticket] = frame
            case Pulse():
                self.pulses.append(frame)
            case Ready():
                raise AssertionError("a second Ready came")

    def _receive(self) -> list[Any]:
        while True:
            data = self.socket.recv(MIB)
            if not data:
                status = self.exit_status()
                raise AssertionError(f"the worker ended with status {status}: {self.last_words()}")
            if frames := self._decoder.feed(data):
                return frames


def process_status(pid: int, key: str) -> str:
    """Return the value of one line of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.strip()
    raise KeyError(key)


def until_gone(pidfd: int) -> None:
    """Return when the process behind a pidfd has ended; it need not be a child of ours."""
    with selectors.DefaultSelector() as selector:
        selector.register(pidfd, selectors.EVENT_READ)
        if not selector.select(PATIENCE):
            raise AssertionError("the process is still there")
