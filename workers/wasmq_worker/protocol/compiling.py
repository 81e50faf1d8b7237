"""Frames to and from a compile process."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from wasmq_worker.protocol.parts import FEW, Frame, Sandbox, Size, Wall

MAX_ARTIFACT = 2**30
"""Bytes: the longest raw frame that a compile process sends."""
MAX_EXTERNS = 10_000
"""Imports and exports that a module may have together: beyond what programs have, and few enough to be shown and
searched between two jobs."""
MAX_DESCRIBED = 8 * 2**20
"""Bytes of a frame that says what a module is: decoded, it can take twenty times as much memory."""
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

    walls: Annotated[tuple[Wall, ...], FEW] = ()


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
    memory: Size
    exported_memory: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]
    kind: str = "module"
    fixed: Size = 0
    record: Size = 0
    growing: bool = True


class Compiled(Frame, frozen=True):
    """Up, from a compile process: the module's description; its artifact follows as a raw frame."""

    description: Described
    engine_version: str
    seconds: float


class Translated(Frame, frozen=True):
    """Up, from a compile process that was given text: its wasm bytes follow as a raw frame, for another to compile.

    Who has read the text cannot then answer with the artifact of other bytes than those it is going to be known by.
    """


class Rejected(Frame, frozen=True):
    """Up, from a compile process: the bytes are not a module that this engine accepts; one line says why."""

    reason: str
