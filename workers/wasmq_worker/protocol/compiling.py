"""Frames to and from a compile process."""

from __future__ import annotations

from typing import Any

from wasmq_worker.protocol.parts import Frame, Sandbox, Wall

MAX_ARTIFACT = 2**30
"""Bytes: the longest raw frame that a compile process sends."""
ENGINE_REVISION = 2
"""Changes whenever a setting changes that decides what compiled code looks like or what one unit of fuel means."""
DESCRIPTION_REVISION = 3
"""Changes whenever a description of the same module would come out another one."""


class CompilerSetup(Frame, frozen=True):
    """The first frame down to a compile process: the engine that it compiles for, and how it is shut in."""

    engine: str
    sandbox: Sandbox = Sandbox()


class CompilerReady(Frame, frozen=True):
    """The first frame up from a compile process: it takes connections, behind these walls."""

    walls: tuple[Wall, ...] = ()


class CompileRequest(Frame, frozen=True):
    """Down, to a compile process: make an artifact of the bytes that follow as one raw frame.

    `timeout` is in seconds, `memory` in bytes. With `counted`, the artifact is for the engine that counts memory
    itself, whatever the module is like.
    """

    engine: str
    timeout: float
    memory: int
    counted: bool = False


class Described(Frame, frozen=True):
    """Up: what a module is. `exports` and `imports` are plain data that `wasmq.types` gives names to.

    `offers` has for each import the type of the WASI function of that name, None where there is none. `kind` is
    "module" or "component"; of a component, `offers` has True for each import that is satisfied, and `fixed` is the
    bytes of its memories that cannot grow. `record` is what an instance takes at most beside its memories and its
    stack, in bytes: tables, functions, globals. Unless it is `growing`, its memories stay as large as `memory` says, as
    long as nobody is linked with it.
    """

    digest: str
    exports: list[Any]
    imports: list[Any]
    offers: list[Any]
    counted: bool
    start: bool
    memory: int
    exported_memory: int
    kind: str = "module"
    fixed: int = 0
    record: int = 0
    growing: bool = True


class Compiled(Frame, frozen=True):
    """Up, from a compile process: the module's description; its wasm bytes and artifact follow as two raw frames."""

    description: Described
    engine_version: str
    seconds: float


class Rejected(Frame, frozen=True):
    """Up, from a compile process: the bytes are not a module that this engine accepts; one line says why."""

    reason: str
