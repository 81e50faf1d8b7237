"""`python -m wasmq_worker.compiler FD`: makes artifacts, each in a process of its own.

The process that is started only waits, with everything loaded; for each descriptor that comes over its control socket
it forks a child that reads one request from it, answers and ends. So every module is parsed, described and compiled
in a fresh process within a time and a memory limit, without paying for a new interpreter.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import re
import signal
import socket
import sys
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from wasmq_worker import sandbox
from wasmq_worker.protocol import (
    LENGTH,
    MAX_ARTIFACT,
    MAX_DESCRIBED,
    MAX_EXTERNS,
    Compiled,
    CompileRequest,
    CompilerReady,
    CompilerSetup,
    Rejected,
    Splitter,
    Translated,
    pack,
    pack_raw,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wasmq_worker.protocol import Described

MAGIC: Final = b"\0asm"
_COMPONENT: Final = b"\x0d\x00\x01\x00"
_NICE: Final = 10  # behind the workers: nobody waits for a compile but the one who asked for it
_STREAM: Final = (socket.AF_UNIX, socket.SOCK_STREAM, 0)  # known, so that Python need not ask what a descriptor is
_TEXT_PLACE: Final = re.compile(r"--> <anon>:(\d+):(\d+)")
_BINARY_PLACE: Final = re.compile(r"\(at offset (0x[0-9a-f]+)\)")


class _Rejection(Exception):
    """Raised with the one line that tells why a module is not accepted."""


def main() -> int:
    """Wait for descriptors, fork a child for each, until the control socket closes."""
    descriptor = int(sys.argv[1])
    walls = sandbox.begin(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    from wasmq_worker import capi, describe, engine
    from wasmq_worker.components import compile as components

    _ = capi, describe, engine, components  # loaded before the walls go up: then no file can be opened
    gc.freeze()
    parent = os.getpid()
    with socket.socket(fileno=descriptor) as control:
        setup = _setup(control)
        machine_code = setup.engine == "native"
        walls += sandbox.enclose("compiler", setup.sandbox, machine_code=machine_code)
        control.sendall(pack(CompilerReady(tuple(walls))))
        while True:
            data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not data:
                return 0
            for client in descriptors:
                if os.fork() == 0:
                    control.close()
                    _serve(client, parent, partial(sandbox.narrow, setup.sandbox, machine_code=machine_code))
                os.close(client)


def _setup(control: socket.socket) -> CompilerSetup:
    """Return the first frame. What comes after it brings descriptors, so not a byte more is read."""
    (size,) = LENGTH.unpack(control.recv(LENGTH.size, socket.MSG_WAITALL))
    return msgspec.msgpack.decode(control.recv(size, socket.MSG_WAITALL), type=CompilerSetup)


def _serve(descriptor: int, parent: int, narrow: Callable[[], None]) -> None:
    """Answer one request and end the process. `narrow` is called before the module's first byte is looked at."""
    status = 1
    try:
        sandbox.die_with_parent(parent)
        os.nice(_NICE)
        with socket.socket(*_STREAM, fileno=descriptor) as stream:
            request, source = _read(stream)
            sandbox.limit(memory=request.memory, seconds=request.timeout)
            with _hanging_on(stream):
                narrow()
                parts = answer(request, source)
            for part in parts:
                stream.sendall(part)
        status = 0
    finally:
        os._exit(status)


@contextmanager
def _hanging_on(stream: socket.socket) -> Iterator[None]:
    """Have the kernel end this process when the other side hangs up: nobody wants the answer any more.

    Only while nothing is written: room for more to write is signalled in the same way.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(stream, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(stream, fcntl.F_GETFL)
    fcntl.fcntl(stream, fcntl.F_SETFL, flags | os.O_ASYNC)
    yield
    fcntl.fcntl(stream, fcntl.F_SETFL, flags)


def _read(stream: socket.socket) -> tuple[CompileRequest, bytes]:
    splitter = Splitter(MAX_ARTIFACT)
    payloads: list[bytes] = []
    while len(payloads) < 2:
        data = stream.recv(2**20)
        if not data:
            raise EOFError("the request ended early")
        payloads += splitter.feed(data)
    return msgspec.msgpack.decode(payloads[0], type=CompileRequest), payloads[1]


def answer(request: CompileRequest, source: bytes) -> list[bytes]:
    """Return the frames that answer a request: `Rejected`, or `Compiled`, or for text `Translated`, and a raw one."""
    from wasmq_worker.engine import ENGINE_VERSION

    started = time.monotonic()
    try:
        if not source.startswith(MAGIC):
            return [pack(Translated()), pack_raw(_from_text(source), MAX_ARTIFACT)]
        description, artifact = _compile(request, source)
    except _Rejection as rejection:
        return [pack(Rejected(str(rejection)))]
    compiled = pack(Compiled(description, ENGINE_VERSION, time.monotonic() - started))
    if len(compiled) > MAX_DESCRIBED:
        size = f"the names and types of its imports and exports take {len(compiled)} bytes"
        return [pack(Rejected(f"{size}, and may take {MAX_DESCRIBED} at most"))]
    return [compiled, pack_raw(artifact, MAX_ARTIFACT)]


def _from_text(source: bytes) -> bytes:
    from wasmq_worker import capi

    vector = capi.Vector()
    error = capi.wat2wasm(source, len(source), ctypes.addressof(vector))
    if error:
        message = capi.take_error(error)
        place = _TEXT_PLACE.search(message)
        what = message.strip().splitlines()[0].strip()
        where = f" at line {place[1]}, column {place[2]}" if place else ""
        raise _Rejection(f"neither a binary module (no \\0asm at its start) nor WebAssembly text: {what}{where}")
    return capi.take_bytes(vector)


def _compile(request: CompileRequest, wasm: bytes) -> tuple[Described, bytes]:
    """Validate, describe and compile. The engine validates first: `describe` then meets only valid modules."""
    from wasmq_worker import capi
    from wasmq_worker.describe import DescribeError, describe
    from wasmq_worker.engine import Engine, EngineError, check

    if wasm[4:8] == _COMPONENT:
        return _compile_component(request, wasm)
    engine = Engine(request.engine)  # type: ignore[arg-type]
    try:
        check(capi.module_validate(engine.pointer, wasm, len(wasm)))
        description = describe(wasm)
        _check_externs(description)
        if request.counted:
            description = msgspec.structs.replace(description, counted=True)
        if description.counted:
            engine = Engine(request.engine, counted=True)  # type: ignore[arg-type]
        out = ctypes.c_void_p()
        check(capi.module_new(engine.pointer, wasm, len(wasm), ctypes.addressof(out)))
        vector = capi.Vector()
        check(capi.module_serialize(out.value, ctypes.addressof(vector)))
    except EngineError as error:
        raise _Rejection(_explain(str(error))) from None
    except DescribeError as error:
        raise _Rejection(str(error)) from None
    return description, capi.take_bytes(vector)


def _check_externs(description: Described) -> None:
    externs = len(description.imports) + len(description.exports)
    if externs > MAX_EXTERNS:
        raise _Rejection(f"it has {externs} imports and exports, and may have {MAX_EXTERNS} at most")


def _compile_component(request: CompileRequest, wasm: bytes) -> tuple[Described, bytes]:
    from wasmq_worker.binary import DescribeError
    from wasmq_worker.components.compile import compile_component
    from wasmq_worker.engine import EngineError

    try:
        description, artifact = compile_component(request.engine, wasm)  # type: ignore[arg-type]
    except EngineError as error:
        raise _Rejection(_explain(str(error))) from None
    except DescribeError as error:
        raise _Rejection(str(error)) from None
    _check_externs(description)
    return description, artifact


def _explain(message: str) -> str:
    """Return wasmtime's message with its preamble cut and the offset in words."""
    for preamble in ("failed to parse WebAssembly module; ", "WebAssembly translation error; ", "Invalid input "):
        message = message.removeprefix(preamble)
    if "shared memories" in message or "threads" in message:
        message = "threads and shared memory are not offered: " + message
    if "component model async feature" in message:
        message = "asynchronous components (WASI p3) are not offered: " + message
    return _BINARY_PLACE.sub(lambda place: f"at byte {int(place[1], 16)}", message)


if __name__ == "__main__":
    sandbox.leave(main)
