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
ENGINE_REVISION = 2
"""Changes whenever a setting changes that decides what compiled code looks like or what one unit of fuel means."""
AT_ONCE = -1
"""The fuel that is known to a `Watch` which wants its answer now."""
BEGUN_SLOTS = 512
"""Tickets in a worker's record of the jobs that have begun, the last ones: more than begin, at two notes each, before
the scheduler has heard of them."""
BEGUN_BYTES = 8 * BEGUN_SLOTS
"""The size of that record: a 64-bit number of this machine for each slot; 0 is no ticket."""
ASK_WINDOW = 16 * 2**20
"""Bytes that the unanswered host calls of one worker may carry together; more of them wait in the worker."""
DESCRIPTION_REVISION = 3
"""Changes whenever a description of the same module would come out another one."""
QUANTUM_BUCKETS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 1.0)
"""Upper bounds in seconds of the buckets in which a worker counts the length of its turns."""

BYTES = ("bytes", "str")
"""What a host function takes and gives through the guest's memory."""
_PAIR = ("i32", "i32")

LENGTH = struct.Struct("<I")
"""What goes before a frame: its length in bytes."""


class ProtocolError(Exception):
    """Raised when bytes from the other side are not a frame."""


class _Frame(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    pass


class _Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


class Reference(_Part, frozen=True):
    """A reference that a guest returned and that is not null; all that is left of it is its `kind`: "funcref"."""

    kind: str


Value: TypeAlias = int | float | bytes | Reference | None
"""A core value; None is a null reference."""


class Signature(_Part, frozen=True):
    """One exported function: its place among all exports, and its value types ("i32", "v128", ...)."""

    position: int
    params: tuple[str, ...]
    results: tuple[str, ...]


class Prices(_Part, frozen=True):
    """What a host call costs in fuel: each `call`, and each `byte` that it moves into or out of the guest or a file."""

    call: int
    byte: int


class HostImport(_Part, frozen=True):
    """A function of the embedding program that a module imports, known to both sides by the number `function`.

    `params` and `results` are numbers' value types, "bytes" or "str". `price` is the fuel of one call, on top of that
    of the bytes that it moves; `max_calls` the calls that one job may make of it.
    """

    function: int
    module: str
    name: str
    params: tuple[str, ...]
    results: tuple[str, ...]
    price: int
    max_calls: int

    def core(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the core parameters and results: bytes go in as (pointer, length) and come out as (pointer, room)."""
        params = [core for kind in self.params for core in (_PAIR if kind in BYTES else (kind,))]
        if self.results and self.results[0] in BYTES:
            return (*params, *_PAIR), ("i32",)
        return tuple(params), self.results


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
    """One job for a worker. `share` and `weight` say whose turn it spends; fuel, bytes, seconds, bytes limit it.

    `host_calls` is how many calls of the embedding program's functions it may make. A `refuellable` job that has spent
    its fuel is suspended, and waits for more.
    """

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
    host_calls: int = 0
    refuellable: bool = False

    def size(self) -> int:
        """Return about how many bytes this takes in a frame, if it is more than a few."""
        size = 0 if self.program is None else self.program.weight()
        return size + len(self.args[0]) if self.args and isinstance(self.args[0], bytes) else size


class ComponentFunction(_Part, frozen=True):
    """One function of a component, exported by the instance `interface` or imported from it; "" is the component.

    Types are as they are described: see `wasmq_worker.components.describe`.
    """

    interface: str
    name: str
    params: list[Any]
    result: Any


class ComponentResource(_Part, frozen=True):
    """A resource that a component imports from an interface."""

    interface: str
    name: str


class ComponentParts(_Part, frozen=True):
    """What a worker must know of a component: its functions by place, what it imports, and bytes of `fixed` memory."""

    calls: tuple[ComponentFunction, ...]
    imports: tuple[ComponentFunction, ...]
    resources: tuple[ComponentResource, ...]
    fixed: int


class Sandbox(_Part, frozen=True):
    """How a process is shut in. `artifacts` is the directory of the artifacts, all that it may read; "" is none.

    `uid` and `gid` are whom it becomes where the scheduler is root, `parent` is the scheduler's process id. `without`
    names walls that are left out.
    """

    artifacts: str = ""
    uid: int | None = None
    gid: int | None = None
    parent: int = 0
    without: tuple[str, ...] = ()


class Wall(_Part, frozen=True):
    """One wall around a process: "up", "down", or "moot" where it has nothing to hold back, and why."""

    name: str
    state: str
    detail: str = ""


class Setup(_Frame, frozen=True):
    """The first frame down: how this worker runs.

    `engine` is "native" or "interpreter", `quantum` is in fuel, `instances` the most that are live at once,
    `pulse` the seconds between two `Pulse` frames, `host_bytes` the most that one host call may carry each way,
    `suspended` the most instances that are suspended at once.
    """

    engine: str
    quantum: int
    instances: int
    pulse: float
    prices: Prices
    host_bytes: int = 2**20
    suspended: int = 100
    sandbox: Sandbox = Sandbox()


class Map(_Frame, frozen=True):
    """Down: map the artifact at `path` and know it as `module`.

    `counted` says that growth of its memories is counted by the worker itself instead of the engine's pool,
    `memory` is the sum of its memories' minimum sizes in bytes, `start` whether instantiation runs guest code,
    `exported_memory` the place of an exported memory among all exports, or -1, `initialise` that of the function which
    a reactor wants called before any other, or -1. `wasi` names what the module imports from WASI preview 1, `host`
    what it imports from the embedding program. `component` is what is to be known of a component besides, None for a
    core module.
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
    host: tuple[HostImport, ...] = ()
    component: ComponentParts | None = None


class Wire(_Part, frozen=True):
    """What satisfies one import, named by `module` and `name`: an export of an earlier part, by their places."""

    module: str
    name: str
    part: int
    position: int


class Part(_Part, frozen=True):
    """One instance of a linked job: the number of its mapped artifact, a name to tell it by, and its wires."""

    artifact: int
    name: str
    wires: tuple[Wire, ...]


class Link(_Frame, frozen=True):
    """Down: know artifacts that were mapped as counted ones, linked with each other, as `module`.

    They are instantiated in this order in one store; the last part is the job's own module.
    """

    module: int
    parts: tuple[Part, ...]


class Unmap(_Frame, frozen=True):
    """Down: forget a module; its running instances go on."""

    module: int


class Start(_Frame, frozen=True):
    """Down: start these jobs."""

    jobs: list[Assignment]


class Cancel(_Frame, frozen=True):
    """Down: end these jobs at their next turn; each still answers with an `Ended`."""

    tickets: list[int]


class Refuel(_Frame, frozen=True):
    """Down: a refuellable job may spend `fuel` in all, if that is more than it may now; suspended, it goes on.

    One that has ended meanwhile is not spoken of. One that has spent so much already stays `Suspended`, and says so.
    """

    ticket: int
    fuel: int


class GiveUp(_Frame, frozen=True):
    """Down: end those of these jobs that are suspended with what they have spent; `reason` is added to their line."""

    tickets: list[int]
    reason: str


class Watch(_Frame, frozen=True):
    """Down: say once, under the number `watch`, what a job has done by now, as soon as that is more than is known.

    With `AT_ONCE` for its fuel that is the next time that the channel is looked at.

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


class Answer(_Part, frozen=True):
    """What a host call came to: its results, or why there are none in one line, which ends the job.

    Of bytes, `values` has the length of all of them, and `data` as many as the guest has room for.
    """

    ticket: int
    call: int
    values: tuple[Value, ...] = ()
    data: bytes | None = None
    error: str | None = None


class Answers(_Frame, frozen=True):
    """Down: what host calls came to. An answer that nobody waits for any more is dropped."""

    answers: list[Answer]


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


STARVED = "starved"
"""The status of a job whose worker had no memory left for what it may have: nothing that the job could help."""


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

    def size(self) -> int:
        """Return about how many bytes this takes in a frame, if it is more than a few."""
        size = 0 if self.printed is None else self.printed.weight()
        return size + len(self.values[0]) if self.values and isinstance(self.values[0], bytes) else size


class Ready(_Frame, frozen=True):
    """The first frame up: the worker can take jobs, behind these walls."""

    engine_version: str
    walls: tuple[Wall, ...] = ()


class Outcomes(_Frame, frozen=True):
    """Up: jobs that ended since the last one."""

    ended: list[Ended]


class Underway(_Frame, frozen=True):
    """Up: jobs that have had their first turn and want more."""

    tickets: list[int]


class Exhausted(_Part, frozen=True):
    """A job that has spent all of `fuel`, its cap by then."""

    ticket: int
    fuel: int


class Suspended(_Frame, frozen=True):
    """Up: refuellable jobs that have spent their fuel, and wait until they are refuelled or given up."""

    exhausted: list[Exhausted]


class Asked(_Part, frozen=True):
    """A guest's call of a host function: the job's `call`th, counted from 1.

    `args` are the arguments, bytes as bytes; when bytes are to come back, the room for them follows.
    """

    ticket: int
    call: int
    function: int
    args: tuple[Value, ...]


class Asks(_Frame, frozen=True):
    """Up: guests that wait for an answer, each for a single one."""

    asked: list[Asked]


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

    `fresh` jobs wait for their first turn, `running` have had it, `suspended` are those of them that wait for fuel;
    `quanta` counts turns per `QUANTUM_BUCKETS` (the
    last count is what lies above them) since the last pulse, `quanta_total` their sum in seconds.
    """

    fresh: int
    running: int
    quanta: list[int]
    quanta_total: float
    suspended: int = 0


class CompilerSetup(_Frame, frozen=True):
    """The first frame down to a compile process: the engine that it compiles for, and how it is shut in."""

    engine: str
    sandbox: Sandbox = Sandbox()


class CompilerReady(_Frame, frozen=True):
    """The first frame up from a compile process: it takes connections, behind these walls."""

    walls: tuple[Wall, ...] = ()


class CompileRequest(_Frame, frozen=True):
    """Down, to a compile process: make an artifact of the bytes that follow as one raw frame.

    `timeout` is in seconds, `memory` in bytes. With `counted`, the artifact is for the engine that counts memory
    itself, whatever the module is like.
    """

    engine: str
    timeout: float
    memory: int
    counted: bool = False


class Described(_Frame, frozen=True):
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


class Compiled(_Frame, frozen=True):
    """Up, from a compile process: the module's description; its wasm bytes and artifact follow as two raw frames."""

    description: Described
    engine_version: str
    seconds: float


class Rejected(_Frame, frozen=True):
    """Up, from a compile process: the bytes are not a module that this engine accepts; one line says why."""

    reason: str


Downward: TypeAlias = Setup | Map | Link | Unmap | Start | Cancel | Refuel | GiveUp | Answers | Watch | Unwatch
Upward: TypeAlias = Ready | Outcomes | Underway | Suspended | Asks | Unmappable | Progress | Pulse

_encoder = msgspec.msgpack.Encoder()


def pack(frame: msgspec.Struct) -> bytes:
    """Return a frame as it goes over the wire, length first."""
    return pack_raw(_encoder.encode(frame))


def pack_raw(payload: bytes, limit: int = MAX_FRAME) -> bytes:
    """Return bytes that are not MessagePack as one frame. Raises `ProtocolError` above `limit` bytes."""
    if len(payload) > limit:
        raise ProtocolError(f"a frame of {len(payload)} bytes is above the limit of {limit}")
    return LENGTH.pack(len(payload)) + payload


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
            (length,) = LENGTH.unpack_from(buffer, start)
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
