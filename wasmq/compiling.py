"""The compile process from the outside: bytes go in, a description and an artifact come out, or one line why not."""

from __future__ import annotations

import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import anyio
import msgspec

from wasmq.config import Config
from wasmq.confinement import Confinement
from wasmq.errors import InvalidModule, SandboxUnavailable, WorkerUnavailable
from wasmq.pool.process import PYTHON_FLAGS, Child, spawn
from wasmq.types import printable
from wasmq.units import format_size
from wasmq_worker.protocol import (
    MAX_ARTIFACT,
    MAX_DESCRIBED,
    Compiled,
    CompileRequest,
    CompilerReady,
    CompilerSetup,
    ProtocolError,
    Rejected,
    Splitter,
    Translated,
    pack,
    pack_raw,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from anyio.abc import TaskGroup

    from wasmq.config import ModulesConfig
    from wasmq_worker.protocol import Wall

_READY_WITHIN = 30.0  # seconds
_HARD_LIMIT = 5.0  # seconds past its own time limit after which a compile process is killed from outside
MAGIC = b"\0asm"
_PARTS = 2  # frames of an answer: what it is, and its bytes
_MAX_REASON = 2_000  # characters
_reply_decoder = msgspec.msgpack.Decoder(Compiled | Translated | Rejected)


class Artifact(NamedTuple):
    """What compiling one module gave: its description, its wasm bytes, and code that a worker can map."""

    compiled: Compiled
    wasm: bytes
    code: bytes


class Compiler:
    """Compiles modules, each in a process of its own, within the configured time and memory.

    `confinement` says how these processes are shut in; where that is as root, `artifacts` returns the directory that
    they take for all there is.
    """

    def __init__(
        self,
        config: ModulesConfig,
        engine: str,
        concurrency: int = 2,
        *,
        confinement: Confinement | None = None,
        artifacts: Callable[[], Path | None] = lambda: None,
    ) -> None:
        self._config = config
        self._confinement = confinement or Confinement(Config())
        self._artifacts = artifacts
        self._engine = engine
        self._nursery: _Nursery | None = None
        self._slots = anyio.CapacityLimiter(concurrency)
        self._starting = anyio.Lock()

    async def compile(self, source: bytes, tasks: TaskGroup, *, counted: bool = False) -> Artifact:
        """Return the artifact of a module's bytes or text; `counted`, for the engine that counts memory itself.

        Raises `InvalidModule` when the engine does not accept it, or when it takes more time or memory than allowed,
        and `SandboxUnavailable` when the process is not shut in as it must be.
        `tasks` owns the process that waits between two compilations.
        """
        wasm = source if source.startswith(MAGIC) else await self._translated(source, tasks)
        made, code = await self._ask(wasm, tasks, counted=counted)
        if not isinstance(made, Compiled):
            raise _nonsense("text instead of a module")
        # Only the process that was given these bytes, and no other, has made what is known by their digest from now on.
        return Artifact(made, wasm, code)

    async def _translated(self, text: bytes, tasks: TaskGroup) -> bytes:
        """Return the bytes of a module in text. Raises as `compile` does."""
        reply, wasm = await self._ask(text, tasks)
        if not isinstance(reply, Translated) or not wasm.startswith(MAGIC):
            raise _nonsense("a module instead of its bytes")
        return wasm

    async def _ask(
        self, source: bytes, tasks: TaskGroup, *, counted: bool = False
    ) -> tuple[Compiled | Translated, bytes]:
        """Return what a process of its own makes of a module or its text, and the bytes that go with it."""
        config = self._config
        request = CompileRequest(self._engine, config.compile_timeout, int(config.compile_memory), counted)
        async with self._slots, self._connection(tasks) as stream:
            parts: list[bytes] = []
            with anyio.move_on_after(config.compile_timeout + _HARD_LIMIT) as scope:
                started = anyio.current_time()
                parts = await _exchange(stream, pack(request) + pack_raw(source, MAX_ARTIFACT))
            if scope.cancelled_caught:
                await self.close()
            took = anyio.current_time() - started
        return self._read(parts, took)

    async def close(self) -> None:
        """End the waiting process and whatever it is compiling."""
        if self._nursery is not None:
            nursery, self._nursery = self._nursery, None
            nursery.close()
            await nursery.gone.wait()

    def _read(self, parts: list[bytes], took: float) -> tuple[Compiled | Translated, bytes]:
        config = self._config
        try:
            reply = _reply_decoder.decode(parts[0]) if parts and len(parts[0]) <= MAX_DESCRIBED else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _nonsense(str(error)) from None
        if isinstance(reply, Rejected):
            raise InvalidModule(f"module: {printable(reply.reason, _MAX_REASON)}")
        if reply is None or len(parts) != _PARTS:
            if took >= config.compile_timeout:
                raise InvalidModule(
                    f"module: compiling took longer than {config.compile_timeout:g} s (modules.compile_timeout)"
                )
            raise InvalidModule(
                f"module: compiling needed more than {format_size(config.compile_memory)} "
                "(modules.compile_memory) or broke the compiler"
            )
        return reply, parts[1]

    @asynccontextmanager
    async def _connection(self, tasks: TaskGroup) -> AsyncIterator[anyio.abc.UNIXSocketStream]:
        async with self._starting:
            if self._nursery is None or self._nursery.closed:
                setup = CompilerSetup(self._engine, self._confinement.sandbox(0, self._artifacts()))
                self._nursery = await _Nursery.start(tasks, setup, self._confinement.refusal)
            ours, theirs = socket.socketpair()
            try:
                self._nursery.hand_over(theirs)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
        try:
            stream = await anyio.abc.UNIXSocketStream.from_socket(ours)
        except BaseException:
            ours.close()
            raise
        async with stream:
            yield stream


def _nonsense(what: str) -> InvalidModule:
    return InvalidModule(f"module: its compile process answered nonsense: {printable(what)}")


async def _exchange(stream: anyio.abc.UNIXSocketStream, request: bytes) -> list[bytes]:
    """Return the payloads that answer a request: fewer than there should be when the process died, and never many."""
    splitter = Splitter(MAX_ARTIFACT)
    parts: list[bytes] = []
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, ProtocolError):
        await stream.send(request)
        while len(parts) <= _PARTS:
            parts += splitter.feed(await stream.receive(2**20))
    return parts


class _Nursery:
    """The process that forks a child for each module."""

    def __init__(self, child: Child, control: socket.socket) -> None:
        self._child = child
        self._control = control
        self.closed = False
        self.gone = anyio.Event()

    @classmethod
    async def start(
        cls, tasks: TaskGroup, setup: CompilerSetup, refusal: Callable[[Sequence[Wall]], str | None]
    ) -> _Nursery:
        ours, theirs = socket.socketpair()
        try:
            command = [sys.executable, *PYTHON_FLAGS, "-m", "wasmq_worker.compiler", str(theirs.fileno())]
            child = await spawn(command, theirs.fileno())
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                raise WorkerUnavailable(f"the compile process cannot be started: {error}") from error
            raise
        finally:
            theirs.close()
        nursery = cls(child, ours)
        tasks.start_soon(nursery._watch)
        try:
            reason = refusal(await nursery._shut_in(setup))
        except BaseException:
            nursery.close()
            raise
        if reason is not None:
            nursery.close()
            raise SandboxUnavailable(reason)
        return nursery

    async def _shut_in(self, setup: CompilerSetup) -> tuple[Wall, ...]:
        """Tell the process how it is shut in, and return the walls that it is behind then."""
        self._control.setblocking(False)
        splitter = Splitter()
        try:
            self._control.send(pack(setup))
            with anyio.fail_after(_READY_WITHIN):
                while True:
                    await anyio.wait_readable(self._control)
                    data = self._control.recv(2**16)
                    if not data:
                        break
                    for frame in splitter.feed(data):
                        return msgspec.msgpack.decode(frame, type=CompilerReady).walls
        except (OSError, TimeoutError, msgspec.DecodeError, ProtocolError) as error:
            raise WorkerUnavailable(f"the compile process does not start: {error}") from error
        await self.gone.wait()
        raise WorkerUnavailable(f"the compile process does not start: {self._child.last_words() or 'it ended'}")

    def hand_over(self, connection: socket.socket) -> None:
        """Give the process one end of a connection to serve."""
        try:
            socket.send_fds(self._control, [b"c"], [connection.fileno()])
        except OSError as error:
            self.close()
            raise WorkerUnavailable(f"the compile process is gone: {error}") from error

    def close(self) -> None:
        """End the process and its children."""
        if not self.closed:
            self.closed = True
            self._control.close()
            self._child.kill()

    async def _watch(self) -> None:
        try:
            await self._child.wait()
        finally:
            self.close()
            await self._child.bury()
            self.gone.set()
