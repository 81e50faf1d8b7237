"""Frames that go to a worker."""

from __future__ import annotations

from typing import Any, TypeAlias

from wasmq_worker.protocol.parts import Frame, Item, Sandbox, Value

AT_ONCE = -1
"""The fuel that is known to a `Watch` which wants its answer now."""
BYTES = ("bytes", "str")
"""What a host function takes and gives through the guest's memory."""
_PAIR = ("i32", "i32")


class Signature(Item, frozen=True):
    """One exported function: its place among all exports, and its value types ("i32", "v128", ...)."""

    position: int
    params: tuple[str, ...]
    results: tuple[str, ...]


class Prices(Item, frozen=True):
    """What a host call costs in fuel: each `call`, and each `byte` that it moves into or out of the guest or a file."""

    call: int
    byte: int


class HostImport(Item, frozen=True):
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


class Program(Item, frozen=True):
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


class Assignment(Item, frozen=True):
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


class ComponentFunction(Item, frozen=True):
    """One function of a component, exported by the instance `interface` or imported from it; "" is the component.

    Types are as they are described: see `wasmq_worker.components.describe`.
    """

    interface: str
    name: str
    params: list[Any]
    result: Any


class ComponentResource(Item, frozen=True):
    """A resource that a component imports from an interface."""

    interface: str
    name: str


class ComponentParts(Item, frozen=True):
    """What a worker must know of a component: its functions by place, what it imports, and bytes of `fixed` memory."""

    calls: tuple[ComponentFunction, ...]
    imports: tuple[ComponentFunction, ...]
    resources: tuple[ComponentResource, ...]
    fixed: int


class Setup(Frame, frozen=True):
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


class Map(Frame, frozen=True):
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


class Wire(Item, frozen=True):
    """What satisfies one import, named by `module` and `name`: an export of an earlier part, by their places."""

    module: str
    name: str
    part: int
    position: int


class Part(Item, frozen=True):
    """One instance of a linked job: the number of its mapped artifact, a name to tell it by, and its wires."""

    artifact: int
    name: str
    wires: tuple[Wire, ...]


class Link(Frame, frozen=True):
    """Down: know artifacts that were mapped as counted ones, linked with each other, as `module`.

    They are instantiated in this order in one store; the last part is the job's own module.
    """

    module: int
    parts: tuple[Part, ...]


class Unmap(Frame, frozen=True):
    """Down: forget a module; its running instances go on."""

    module: int


class Start(Frame, frozen=True):
    """Down: start these jobs."""

    jobs: list[Assignment]


class Cancel(Frame, frozen=True):
    """Down: end these jobs at their next turn; each still answers with an `Ended`."""

    tickets: list[int]


class Refuel(Frame, frozen=True):
    """Down: a refuellable job may spend `fuel` in all, if that is more than it may now; suspended, it goes on.

    One that has ended meanwhile is not spoken of. One that has spent so much already stays `Suspended`, and says so.
    """

    ticket: int
    fuel: int


class GiveUp(Frame, frozen=True):
    """Down: end those of these jobs that are suspended with what they have spent; `reason` is added to their line."""

    tickets: list[int]
    reason: str


class Watch(Frame, frozen=True):
    """Down: say once, under the number `watch`, what a job has done by now, as soon as that is more than is known.

    With `AT_ONCE` for its fuel that is the next time that the channel is looked at.

    Known are `fuel`, and so many bytes of `stdout` and `stderr`. A job that has ended is not spoken of.
    """

    watch: int
    ticket: int
    fuel: int
    stdout: int
    stderr: int


class Unwatch(Frame, frozen=True):
    """Down: nobody wants to know any more."""

    watches: list[int]


class Answer(Item, frozen=True):
    """What a host call came to: its results, or why there are none in one line, which ends the job.

    Of bytes, `values` has the length of all of them, and `data` as many as the guest has room for.
    """

    ticket: int
    call: int
    values: tuple[Value, ...] = ()
    data: bytes | None = None
    error: str | None = None


class Answers(Frame, frozen=True):
    """Down: what host calls came to. An answer that nobody waits for any more is dropped."""

    answers: list[Answer]


Downward: TypeAlias = Setup | Map | Link | Unmap | Start | Cancel | Refuel | GiveUp | Answers | Watch | Unwatch
