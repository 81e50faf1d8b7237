"""The frames that cross the wall between the scheduler and its worker and compile processes, and nothing else.

A frame is a 4-byte little-endian length and that many bytes of MessagePack: an array whose first element names the
frame. Downward frames go to a worker, upward frames come from it; what comes up is hostile until it is decoded.
"""

from __future__ import annotations

import struct
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

MAX_FRAME = 64 * 2**20
"""Bytes: the longest frame that either side accepts."""
MAX_ARTIFACT = 2**30
"""Bytes: the longest raw frame that a compile process sends."""
ENGINE_REVISION = 1
"""Changes whenever a setting changes that decides what compiled code looks like or what one unit of fuel means."""
QUANTUM_BUCKETS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 1.0)
"""Upper bounds in seconds of the buckets in which a worker counts the length of its turns."""

Value: TypeAlias = int | float | bytes

_LENGTH = struct.Struct("<I")


class ProtocolError(Exception):
    """Raised when bytes from the other side are not a frame."""


class _Frame(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    pass


class _Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


class Signature(_Part, frozen=True):
    """One exported function: its place among all exports, and its value types ("i32", "v128", ...)."""

    position: int
    params: tuple[str, ...]
    results: tuple[str, ...]


class Prices(_Part, frozen=True):
    """What a host call costs in fuel: each `call`, and each `byte` that it moves into or out of the guest or a file."""

    call: int
    byte: int


class Program(_Part, frozen=True):
    """What a guest sees of the world. `argv` begins with the program's own name; `stdin` and `files` are bytes.

    `dirs` are directories that it is given under names of their own, True for those that it may only read; `collect`
    names the files that are wanted at the end, a name that ends in "/" all files below it; `quota` is the bytes that
    all files may have together. With `deterministic`, time and chance are the same each time.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    stdin: bytes
    files: dict[str, bytes]
    dirs: dict[str, bool]
    collect: tuple[str, ...]
    quota: int
    deterministic: bool

    def weight(self) -> int:
        """Return about how many bytes this takes in a frame."""
        return len(self.stdin) + sum([len(name) + len(content) for name, content in self.files.items()])


class Assignment(_Part, frozen=True):
    """One job for a worker. `share` and `weight` say whose turn it spends; fuel, bytes, seconds, bytes limit it."""

    ticket: int
    module: int
    signature: int
    args: tuple[Value, ...]
    fuel: int
    memory: int
    timeout: float
    output: int
    share: int
    weight: float
    program: Program | None = None


class Setup(_Frame, frozen=True):
    """The first frame down: how this worker runs.

    `engine` is "native" or "interpreter", `quantum` is in fuel, `instances` the most that are live at once,
    `pulse` the seconds between two `Pulse` frames.
    """

    engine: str
    quantum: int
    instances: int
    pulse: float
    prices: Prices


class Map(_Frame, frozen=True):
    """Down: map the artifact at `path` and know it as `module`.

    `counted` says that growth of its memories is counted by the worker itself instead of the engine's pool,
    `memory` is the sum of its memories' minimum sizes in bytes, `start` whether instantiation runs guest code,
    `exported_memory` the place of an exported memory among all exports, or -1, `initialise` that of the function which
    a reactor wants called before any other, or -1. `wasi` names what the module imports from WASI preview 1.
    """

    module: int
    path: str
    counted: bool
    start: bool
    memory: int
    exported_memory: int
    signatures: tuple[Signature, ...]
    initialise: int = -1
    wasi: tuple[str, ...] = ()


class Unmap(_Frame, frozen=True):
    """Down: forget a module; its running instances go on."""

    module: int


class Start(_Frame, frozen=True):
    """Down: start these jobs."""

    jobs: list[Assignment]


class Cancel(_Frame, frozen=True):
    """Down: end these jobs at their next turn; each still answers with an `Ended`."""

    tickets: list[int]


class Watch(_Frame, frozen=True):
    """Down: say once, under the number `watch`, what a job has done by now, as soon as that is more than is known.

    Known are `fuel`, and so many bytes of `stdout` and `stderr`. A job that has ended is not spoken of.
    """

    watch: int
    ticket: int
    fuel: int
    stdout: int
    stderr: int


class Unwatch(_Frame, frozen=True):
    """Down: nobody wants to know any more."""

    watches: list[int]


class Backtrace(_Part, frozen=True):
    """One line of a backtrace: function index, its name if the module names it, byte offset in the module if known."""

    function: int
    name: str | None
    offset: int | None


class Printed(_Part, frozen=True):
    """What a guest left behind: the output that was kept, whether there was more, and the files that were wanted."""

    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    files: dict[str, bytes]

    def weight(self) -> int:
        """Return about how many bytes this takes in a frame."""
        files = sum([len(name) + len(content) for name, content in self.files.items()])
        return len(self.stdout) + len(self.stderr) + files


class Ended(_Part, frozen=True):
    """How one job ended: a status, the results, fuel, bytes, seconds, and for a failure one line and the trap.

    `exit_code` and `printed` are a WASI guest's.
    """

    ticket: int
    status: str
    values: tuple[Value, ...] = ()
    fuel_used: int = 0
    memory_peak: int = 0
    ran: float = 0.0
    error: str | None = None
    trap: str | None = None
    backtrace: tuple[Backtrace, ...] = ()
    exit_code: int | None = None
    printed: Printed | None = None


class Ready(_Frame, frozen=True):
    """The first frame up: the worker can take jobs."""

    engine_version: str


class Outcomes(_Frame, frozen=True):
    """Up: jobs that ended since the last one."""

    ended: list[Ended]


class Underway(_Frame, frozen=True):
    """Up: jobs that have had their first turn and want more."""

    tickets: list[int]


class Unmappable(_Frame, frozen=True):
    """Up: the artifact of `module` cannot be mapped; the jobs that named it come back in `tickets`, never started."""

    module: int
    reason: str
    tickets: list[int]


class Glimpse(_Part, frozen=True):
    """What a running job has done: its fuel so far, a multiple of a slice, and the output beyond what was known."""

    watch: int
    fuel: int
    stdout: bytes
    stderr: bytes


class Progress(_Frame, frozen=True):
    """Up: the answers to `Watch` frames; each answers one, and a watch is over with it."""

    seen: list[Glimpse]


class Pulse(_Frame, frozen=True):
    """Up, at a steady pace: the worker lives.

    `fresh` jobs wait for their first turn, `running` have had it; `quanta` counts turns per `QUANTUM_BUCKETS` (the
    last count is what lies above them) since the last pulse, `quanta_total` their sum in seconds.
    """

    fresh: int
    running: int
    quanta: list[int]
    quanta_total: float


class CompileRequest(_Frame, frozen=True):
    """Down, to a compile process: make an artifact of the bytes that follow as one raw frame.

    `timeout` is in seconds, `memory` in bytes.
    """

    engine: str
    timeout: float
    memory: int


class Described(_Frame, frozen=True):
    """Up: what a module is. `exports` and `imports` are plain data that `wasmq.types` gives names to.

    `offers` has for each import the type of the WASI function of that name, None where there is none.
    """

    digest: str
    exports: list[Any]
    imports: list[Any]
    offers: list[Any]
    counted: bool
    start: bool
    memory: int
    exported_memory: int


class Compiled(_Frame, frozen=True):
    """Up, from a compile process: the module's description; its wasm bytes and artifact follow as two raw frames."""

    description: Described
    engine_version: str
    seconds: float


class Rejected(_Frame, frozen=True):
    """Up, from a compile process: the bytes are not a module that this engine accepts; one line says why."""

    reason: str


Downward: TypeAlias = Setup | Map | Unmap | Start | Cancel | Watch | Unwatch
Upward: TypeAlias = Ready | Outcomes | Underway | Unmappable | Progress | Pulse

_encoder = msgspec.msgpack.Encoder()


def pack(frame: msgspec.Struct) -> bytes:
    """Return a frame as it goes over the wire, length first."""
    return pack_raw(_encoder.encode(frame))


def pack_raw(payload: bytes, limit: int = MAX_FRAME) -> bytes:
    """Return bytes that are not MessagePack as one frame. Raises `ProtocolError` above `limit` bytes."""
    if len(payload) > limit:
        raise ProtocolError(f"a frame of {len(payload)} bytes is above the limit of {limit}")
    return _LENGTH.pack(len(payload)) + payload


class Splitter:
    """Cuts a stream of bytes into frames' payloads."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """Return the payloads that `data` completes. Raises `ProtocolError` when a length is above the limit."""
        buffer = self._buffer
        buffer += data
        payloads = []
        start = 0
        while len(buffer) - start >= 4:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > self._limit:
                raise ProtocolError(f"a frame of {length} bytes is above the limit of {self._limit}")
            end = start + 4 + length
            if len(buffer) < end:
                break
            payloads.append(bytes(memoryview(buffer)[start + 4 : end]))
            start = end
        if start:
            del buffer[:start]
        return payloads


_F = TypeVar("_F")


class Decoder(Generic[_F]):
    """Turns a stream of bytes into frames of one direction."""

    def __init__(self, frames: Any, limit: int = MAX_FRAME) -> None:
        self._splitter = Splitter(limit)
        self._decoder: msgspec.msgpack.Decoder[_F] = msgspec.msgpack.Decoder(frames)

    def feed(self, data: bytes | memoryview) -> list[_F]:
        """Return the frames that `data` completes. Raises `ProtocolError` when bytes are not such a frame."""
        try:
            return [self._decoder.decode(payload) for payload in self._splitter.feed(data)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"not a frame: {error}") from None
