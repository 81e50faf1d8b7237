"""What a hostile worker may send to the trusted process, and a hostile compile process; and what the daemon sends down.

A worker that has been given jobs says anything: frames that are nearly right, frames that are not, bytes. It is either
understood or ended, and nothing else; each of its jobs is settled, or handed to the settle loop, exactly once; and the
outcome of one is what a store and a client can carry.
"""

from __future__ import annotations

import asyncio
import logging
import math
from types import SimpleNamespace
from typing import Any, Final

import msgspec
from clocks import NOON, VirtualClock

import wasmq
from fuzz.drawing import Draw
from wasmq import wit
from wasmq.compiling import Compiler
from wasmq.config import Config, ModulesConfig, SchedulerConfig, Size
from wasmq.errors import InvalidModule
from wasmq.events import Position
from wasmq.job import Call, Caps, Job, Program
from wasmq.modules import Component, Module
from wasmq.pool.channel import Channel
from wasmq.pool.crew import _Worker
from wasmq.server.bodies import job_body
from wasmq.settle import CancelWish
from wasmq.store.records import decode_outcome, encode_outcome
from wasmq.types import Extern, FunctionType, Import
from wasmq.wiring import Parts, Surface
from wasmq_worker.protocol import (
    LENGTH,
    MAX_FRAME,
    Decoder,
    Downward,
    ProtocolError,
    Reference,
    Upward,
    Wall,
    pack,
)

logging.getLogger("wasmq").setLevel(logging.CRITICAL)

_PATH: Final = SimpleNamespace(__str__=lambda: "artifact")
_ANY: Final = wit.Record((wit.Field("a", wit.List("u8")), wit.Field("b", wit.Option("string"))), None)
_TYPES: Final = (
    ("nothing", FunctionType((), ())),
    ("two", FunctionType(("i32", "f32"), ("i32", "v128"))),
    ("refer", FunctionType(("externref",), ("funcref", "i64", "f64"))),
    ("_start", FunctionType((), ())),
)
_PLAIN: Final = {
    "kind": "module",
    "size": 1,
    "artifact": "artifact",
    "counted": False,
    "start": False,
    "memory": 65_536,
    "exported_memory": -1,
}
_WASI: Final = FunctionType(("i32",), ())
MODULE: Final = Module(
    digest="1" * 64,
    exports=tuple(Extern(*each) for each in _TYPES),
    imports=(
        Import("wasi_snapshot_preview1", "proc_exit", _WASI),
        Import("env", "twice", FunctionType(("i32",), ("i32",))),
        Import("env", "shout", FunctionType(("i32", "i32", "i32", "i32"), ("i32",))),
        Import("env", "later", FunctionType(("i64",), ("i64",))),
    ),
    offers=(_WASI, None, None, None),
    **_PLAIN,  # type: ignore[arg-type]
)
COMPONENT: Final = Component(
    digest="2" * 64,
    exports=(
        Extern("make", wit.Func((), _ANY, False)),
        Extern("wasi:cli/run@0.2.0#run", wit.Func((), wit.Result(None, None), False)),
    ),
    imports=(),
    **{**_PLAIN, "kind": "component"},  # type: ignore[arg-type]
)
_CAPS: Final = Caps(1_000, 2**20, 10.0, 100, 1_000, 3)
_PROGRAM: Final = Program(collect=("out", "dir/"))
_CALLS: Final = (
    (Call(MODULE.digest, "nothing"), _CAPS),
    (Call(MODULE.digest, "two", (1, 2.0)), _CAPS),
    (Call(MODULE.digest, "refer", (None,)), msgspec.structs.replace(_CAPS, suspend=5.0)),
    (Call(MODULE.digest, "_start", (), _PROGRAM), msgspec.structs.replace(_CAPS, suspend=5.0)),
    (Call(COMPONENT.digest, "make", (b"\x90",)), _CAPS),
    (Call(COMPONENT.digest, "wasi:cli/run@0.2.0#run", (b"\x90",), _PROGRAM), _CAPS),
)
_NAMES: Final = ("Ready", "Outcomes", "Underway", "Suspended", "Asks", "Unmappable", "Progress", "Pulse", "Start", "X")
_STATUSES: Final = (
    *("succeeded", "trapped", "out_of_fuel", "out_of_memory", "timed_out", "exited", "cancelled", "lost", ""),
)
_RESULTS: Final[tuple[list[Any], ...]] = (
    [],
    [7, bytes(16)],
    [["funcref"], 7, 1.5],
    [b"\x92\xc4\x01a\xc0"],
    [b"\x92\0\xc0"],
)
_WORKER: Final = 1
_MOST_ERROR: Final = 2_000  # characters


class _Tasks:
    """A task group in which nothing runs."""

    def start_soon(self, *_: object) -> None:
        """Do nothing: what would run needs processes."""


class _Transport:
    """A connection whose other end is the fuzzer."""

    def __init__(self) -> None:
        self.closed = False

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return self.closed

    def write(self, data: bytes) -> None:
        """Let a frame go."""

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


async def _never(*_: object) -> Any:
    raise AssertionError("a worker's frame called the scheduler")


class _House:
    """A scheduler's parts with one worker, as they are when it has been given jobs."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.scheduler = wasmq.Scheduler(workers=1, config=_CONFIG, clock=self.clock)
        functions = self.scheduler._functions
        everybody = {"tenants": "*", "inline": True}
        functions.offer("env", "twice", params=("i32",), results=("i32",), **everybody)(lambda number: 2 * number)
        functions.offer("env", "shout", params=("str",), results=("str",), **everybody)(str.upper)
        functions.offer("env", "later", params=("i64",), results=("i64",), tenants="*")(lambda number: number)
        self.parts = Parts(self.scheduler._base, Surface(_never, _never, _never, _never), _Tasks())  # type: ignore[arg-type]
        self.settled: list[str] = []
        library = self.parts.library
        for module in (MODULE, COMPONENT):
            library._modules[module.digest] = module
            library._recency[module.digest] = None
        self.worker = _Worker(_WORKER, solo=False)
        self.parts.crew._workers[_WORKER] = self.worker
        self.broken: str | None = None
        wall = Wall("cgroup", "moot")
        self.channel = Channel(lambda frame: self.parts.crew._heard(self.worker, wall, frame), self._break)
        self.transport = _Transport()
        self.channel.connection_made(self.transport)  # type: ignore[arg-type]
        self.worker.channel = self.channel

    def _break(self, reason: str) -> None:
        assert self.broken is None, "a channel broke twice"
        self.broken = reason

    async def submit(self) -> None:
        """Put the jobs into the store, and give them out."""
        store = self.scheduler._store
        for number, (call, caps) in enumerate(_CALLS, 1):
            job = Job(f"j{number}", call, caps, "t", 0, None, NOON, NOON, 0.0, 1.0)
            self.scheduler._gate.readmit("t", 1)
            await store.put([job])
        await self.parts.dispatcher._dispatch()

    def hear(self, data: bytes, draw: Draw) -> None:
        """Give the channel bytes in pieces of any size, as long as it listens."""
        while data and not self.transport.closed:
            size = len(data) if draw.flag() else 1 + draw.below(300)
            piece, data = data[:size], data[size:]
            view = self.channel.get_buffer(len(piece))
            view[: len(piece)] = piece
            self.channel.buffer_updated(len(piece))
            kept = len(self.channel._decoder._splitter._buffer)
            assert kept <= MAX_FRAME + LENGTH.size + len(view), "a channel keeps more than one frame"

    async def end(self) -> None:
        """Let the worker go, and settle everything."""
        parts = self.parts
        parts.crew._overseer.left(_WORKER, "protocol", "", frozenset())
        assert parts.pool.running == 0
        assert parts.pool.memory.booked == 0
        assert not parts.calls._out
        told = sorted(item.job.id for item in parts.settler._news if not isinstance(item, CancelWish))
        assert told == sorted(set(told)), "a job's end was told twice"
        running = sorted(record.id for record in await self._records("running"))
        assert told == running, "a job has been lost, or ended that did not run"
        parts.settler._retry = parts.settler._hand_back  # type: ignore[method-assign,assignment]
        await parts.settler._settle_all()
        for record in await self._records("finished"):
            _check_outcome(record)

    async def _records(self, status: Any) -> list[Any]:
        return await self.scheduler._store.list(tenant=None, status=status, after=None, limit=100)


def _check_outcome(record: Any) -> None:
    """See that an outcome is within what its job may have, and that stores and clients can carry it."""
    outcome, job = record.outcome, record.job
    assert 0 <= outcome.fuel_used <= job.fuel
    assert 0 <= outcome.memory_peak < 2**63
    assert math.isfinite(outcome.ran)
    assert outcome.ran >= 0
    assert len(outcome.stdout) + len(outcome.stderr) <= job.caps.output
    assert sum(map(len, outcome.files.values())) <= job.caps.files
    assert outcome.status == "succeeded" or outcome.error, f"{outcome.status} without a reason"
    assert outcome.error is None or (len(outcome.error) <= _MOST_ERROR and outcome.error.isprintable()), outcome.error
    assert outcome.exit_code is None or 0 <= outcome.exit_code < 2**32
    if outcome.trap is not None:
        assert len(outcome.trap.code) <= 100
        assert outcome.trap.code.isprintable()
        assert len(outcome.trap.backtrace) <= 100
    if outcome.status == "succeeded" and outcome.returned is None and job.call.module == MODULE.digest:
        wanted = MODULE.functions[job.call.export].results
        assert len(outcome.values) == len(wanted), "a result of another length"
        for kind, value in zip(wanted, outcome.values, strict=True):
            assert _is(kind, value), (kind, value)
    else:
        assert not outcome.values
    assert decode_outcome(encode_outcome(outcome)) == msgspec.structs.replace(outcome, basis=None) or _has_nan(outcome)
    msgspec.json.encode(job_body(record))


def _has_nan(outcome: Any) -> bool:
    return any(isinstance(value, float) and math.isnan(value) for value in outcome.values)


def _is(kind: str, value: Any) -> bool:
    match kind:
        case "i32" | "i64":
            bits = int(kind[1:]) - 1
            return type(value) is int and -(2**bits) <= value < 2**bits
        case "f32" | "f64":
            return type(value) is float
        case "v128":
            return type(value) is bytes and len(value) == 16
    return value is None or isinstance(value, Reference)


def _ticket(draw: Draw) -> int:
    return draw.integer() if draw.below(8) == 7 else draw.below(8)


def _value(draw: Draw) -> Any:
    match draw.below(6):
        case 0:
            return draw.integer()
        case 1:
            return draw.real()
        case 2:
            return draw.octets(20)
        case 3:
            return [draw.text()]
        case 4:
            return draw.take(16).ljust(16, b"\0")
    return None


def _values(draw: Draw) -> list[Any]:
    return [_value(draw) for _ in range(draw.below(4))]


def _printed(draw: Draw) -> list[Any]:
    names = ("out", "dir/a", "../out", "", "dir/\n")
    files = {draw.choice(names): draw.octets(255) * (1 + draw.below(6)) for _ in range(draw.below(4))}
    return [draw.octets(200), draw.octets(200), draw.flag(), draw.flag(), files]


def _ended(draw: Draw) -> list[Any]:
    """Return the end of a job, with some of it changed."""
    status = draw.choice(_STATUSES)
    error = None if status == "succeeded" else "it went wrong"
    end: list[Any] = [_ticket(draw), status, draw.choice(_RESULTS), 10, 65_536, 0.5, error, None, [], None, None]
    for _ in range(draw.below(4)):
        place = draw.below(len(end))
        end[place] = _field(draw, place)
    return end[: 2 + draw.below(10)] if draw.below(4) == 3 else end


def _field(draw: Draw, place: int) -> Any:
    """Return what may be in a place of a job's end."""
    match place:
        case 0:
            return _ticket(draw)
        case 1:
            return draw.text()
        case 2:
            return _values(draw)
        case 3 | 4 | 9:
            return draw.integer()
        case 5:
            return draw.real()
        case 6:
            return draw.text() * (1 + draw.byte() * 20)
        case 7:
            return draw.text() * (1 + draw.byte())
        case 8:
            line = [draw.integer(), draw.choice((None, draw.text())), draw.choice((None, draw.integer()))]
            return [line] * (1 + draw.byte() * 5)
    return _printed(draw)


def _frame(draw: Draw) -> list[Any]:
    """Return a frame that is right, or nearly."""
    name = draw.choice(_NAMES)
    match name:
        case "Ready":
            walls = [
                [draw.text(8), draw.choice(("up", "down", "moot", "x")), draw.text(8)] for _ in range(draw.below(3))
            ]
            return [name, draw.text(), walls]
        case "Outcomes":
            return [name, [_ended(draw) for _ in range(draw.below(4))]]
        case "Underway":
            return [name, [_ticket(draw) for _ in range(draw.below(4))]]
        case "Suspended":
            return [name, [[_ticket(draw), draw.choice((1_000, draw.integer()))] for _ in range(draw.below(4))]]
        case "Asks":
            asks = [[_ticket(draw), draw.below(5), draw.below(4), _values(draw)] for _ in range(draw.below(4))]
            return [name, asks]
        case "Unmappable":
            return [name, draw.integer(), draw.text(), [_ticket(draw) for _ in range(draw.below(4))]]
        case "Progress":
            seen = [[draw.below(3), draw.integer(), draw.octets(9), draw.octets(9)] for _ in range(draw.below(3))]
            return [name, seen]
        case "Pulse":
            quanta = [draw.integer() for _ in range(draw.choice((14, draw.below(16))))]
            return [name, draw.integer(), draw.integer(), quanta, draw.real(), draw.integer()]
    return [name, draw.json()]


def _encoded(draw: Draw) -> bytes:
    """Return the bytes of a frame, or bytes in the place of one."""
    how = draw.below(16)
    if how == 15:
        return draw.octets()
    if how == 14:
        payload = draw.octets()
        return LENGTH.pack(len(payload)) + payload
    frame = _frame(draw)
    if how == 13:
        frame[draw.below(len(frame))] = draw.json()
    try:
        payload = bytearray(msgspec.msgpack.encode(frame))
    except (UnicodeEncodeError, OverflowError):
        return b""  # what cannot be said in MessagePack is not sent
    if how == 12:
        payload[draw.below(len(payload))] = draw.byte()
    size = draw.integer() % 2**32 if how == 11 else len(payload)
    return LENGTH.pack(size) + payload


async def _upward(draw: Draw) -> None:
    house = _House()
    if draw.below(16) != 15:
        house.hear(pack_ready(), draw)
    await house.submit()
    onlooker = house.parts.onlookers.open("j4", Position()) if draw.flag() else None
    while draw and not house.transport.closed:
        house.hear(_encoded(draw), draw)
    if onlooker is not None:
        house.parts.onlookers.close(onlooker)
    await house.end()
    metrics = house.scheduler.metrics
    assert all(math.isfinite(each.total) for each in (metrics._quantum, metrics._run, metrics._fuel, metrics._memory))


def pack_ready() -> bytes:
    """Return the frame with which an honest worker begins."""
    payload = msgspec.msgpack.encode(["Ready", "1.0", [["seccomp", "up", ""]]])
    return LENGTH.pack(len(payload)) + payload


def _raw(data: bytes, frames: Any) -> None:
    """Decode bytes as frames of one direction; what is understood goes the same way back."""
    decoder: Decoder[Any] = Decoder(frames)
    try:
        found = decoder.feed(data)
    except ProtocolError:
        return
    for frame in found:
        (again,) = Decoder(frames).feed(pack(frame))
        assert again == frame or "nan" in repr(frame)


def _compiled(draw: Draw) -> None:
    """Read what a compile process answers."""
    compiler = Compiler(ModulesConfig(), "native")
    parts = [draw.octets(255) for _ in range(draw.below(5))]
    try:
        compiler._read(parts, draw.real())
    except InvalidModule as error:
        assert str(error).isprintable()


_CONFIG: Final = Config(scheduler=SchedulerConfig(memory=Size(2**30)))
_LOOP: Final = asyncio.new_event_loop()


def fuzz(data: bytes) -> None:
    """Let a process on the other side of the wall say something. Raises when that does any harm."""
    draw = Draw(data)
    match draw.below(16):
        case 0:
            _raw(draw.rest(), Upward)
        case 1:
            _raw(draw.rest(), Downward)
        case 2:
            _compiled(draw)
        case _:
            _LOOP.run_until_complete(_upward(draw))
