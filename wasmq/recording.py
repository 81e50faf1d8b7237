"""Recordings: the host calls of a run, kept in order and within bounds, so that another run can be answered from them.

A recording has all that the guest could tell from its host: what the functions were, what they cost, and what each call
came to. Without I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from wasmq.errors import NotDeterministic
from wasmq.units import format_size
from wasmq_worker.protocol import Answer, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmq.host import HostFunction
    from wasmq.job import Job
    from wasmq_worker.protocol import Asked

__all__ = [
    "MSGPACK",
    "NOTHING",
    "Recorded",
    "RecordedCall",
    "RecordedFunction",
    "RecordedHost",
    "Recording",
    "Tapes",
    "recorded_functions",
]

MSGPACK: Final = "application/vnd.msgpack"
"""The media type of a packed recording."""
_T = TypeVar("_T")
_Key: TypeAlias = tuple[int, int]


class RecordedFunction(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A host function that a job could call: the names by which it is imported, its kinds of values, and its price.

    `price` is the fuel of one call, `max_calls` the calls that one job might make of it.
    """

    module: str
    name: str
    params: tuple[str, ...]
    results: tuple[str, ...]
    price: int
    max_calls: int

    @property
    def dotted(self) -> str:
        """Both names: "env.lookup"."""
        return f"{self.module}.{self.name}"


class RecordedCall(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One host call: the function's two names in one, its arguments, and what it came to.

    Text among the arguments is bytes; where bytes are to come back, the room for them is the last argument. Then
    `values` has the length of what the function returned, and `data` what there was room for. `error` is the line that
    ended the job, None for a call that succeeded.
    """

    function: str
    args: tuple[Value, ...]
    values: tuple[Value, ...] = ()
    data: bytes | None = None
    error: str | None = None


class Recording(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The host calls of one run, in their order. `max_bytes` is what one call might carry each way.

    `functions` are all that the job could call, by their names, also those that it never called.
    """

    functions: tuple[RecordedFunction, ...]
    max_bytes: int
    calls: tuple[RecordedCall, ...]

    @staticmethod
    def unpack(packed: bytes) -> Recording:
        """Return the recording that was kept as bytes. Raises `NotDeterministic` when they are not one."""
        return _read(_decode, packed)

    def pack(self) -> bytes:
        """Return it as bytes, those that a receipt's digest is over."""
        return _encode(self)


class RecordedHost(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a recorded run was offered: a recording without its calls, of which there may be very many."""

    functions: tuple[RecordedFunction, ...]
    max_bytes: int

    @staticmethod
    def unpack(packed: bytes) -> RecordedHost:
        """Return what a packed recording begins with. Raises `NotDeterministic` when it is none."""
        return _read(_decode_host, packed)

    def changed(self, offers: Sequence[RecordedFunction], max_bytes: int) -> str | None:
        """Return in which point what is offered now differs from what was recorded, None when it is the same."""
        now = {each.dotted: each for each in offers}
        for each in self.functions:
            if (other := now.get(each.dotted)) is None:
                return f"host function {each.dotted} is not offered any more"
            if other.price != each.price:
                return f"host function {each.dotted} is not as it was: it cost {each.price} fuel, now {other.price}"
            if other != each:
                return f"host function {each.dotted} is not as it was: it has other types, or another max_calls"
        if max_bytes != self.max_bytes:
            return f"a host call could carry {self.max_bytes} bytes, now {max_bytes} (host.max_bytes)"
        return None


class Recorded(NamedTuple):
    """What there is of a run's host calls: the packed recording, or why they were not kept; neither if unwanted."""

    packed: bytes | None = None
    why_not: str | None = None


class _Packing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    functions: tuple[RecordedFunction, ...]
    max_bytes: int
    calls: list[msgspec.Raw]


NOTHING: Final = Recorded()
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Recording).decode
_decode_host: Final = msgspec.msgpack.Decoder(RecordedHost).decode
_decode_calls: Final = msgspec.msgpack.Decoder(_Packing).decode
_decode_call: Final = msgspec.msgpack.Decoder(RecordedCall).decode


def _read(decode: Callable[[bytes], _T], packed: bytes) -> _T:
    try:
        return decode(packed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotDeterministic(f"its recording of host calls cannot be read: {error}") from None


class _Tape:
    """One attempt's calls: those that it has made, and those of the earlier run that it is answered from."""

    __slots__ = ("calls", "made", "score", "size", "why_not")

    def __init__(self) -> None:
        self.calls: list[msgspec.Raw] = []
        self.size = 0
        self.made = 0
        self.why_not: str | None = None
        self.score: Sequence[msgspec.Raw] | None = None


class Tapes:
    """The host calls of the jobs that run now and are recorded, or answered from a recording.

    A job is known by its worker and its ticket there. `room` is the bytes that all tapes may take together, `max_bytes`
    what one call may carry each way.
    """

    def __init__(self, room: int, max_bytes: int) -> None:
        self._room = room
        self._most = max_bytes
        self._size = 0
        self._tapes: dict[_Key, _Tape] = {}

    @property
    def size(self) -> int:
        """Bytes that all tapes take."""
        return self._size

    def answer(self, worker: int, job: Job, asked: Asked, function: HostFunction) -> Answer:
        """Return the answer that a job's own recording has for its next call, an error if it has none for this one."""
        tape = self._tape(worker, asked.ticket)
        number = tape.made + 1
        try:
            if tape.score is None:
                assert job.recording is not None
                tape.score = _read(_decode_calls, job.recording).calls
            if number > len(tape.score):
                why = f"call {number} was never made: {len(tape.score)} host calls are recorded"
                return _refusal(asked, function, why)
            known = _read(_decode_call, bytes(tape.score[number - 1]))
        except NotDeterministic as error:
            return _refusal(asked, function, str(error))
        if known.function != function.name:
            return _refusal(asked, function, f"call {number} was one of {known.function}")
        # Compared by their bytes: NaN is not equal to itself, and 0.0 is equal to -0.0.
        if _encode(known.args) != _encode(asked.args):
            return _refusal(asked, function, f"call {number} was made with other arguments")
        return Answer(asked.ticket, asked.call, known.values, known.data, known.error)

    def note(self, worker: int, job: Job, asked: Asked, function: HostFunction, answer: Answer) -> None:
        """Take note of what a call came to, if the job is recorded or answered from a recording."""
        most = job.caps.recording
        if not most and job.recording is None:
            return
        tape = self._tape(worker, asked.ticket)
        tape.made += 1
        if not most or tape.why_not is not None:
            return
        call = RecordedCall(function.name, asked.args, answer.values, answer.data, answer.error)
        packed = _encode(call)
        size = len(packed)
        if tape.size + size > most:
            why_not = f"they came to more than {format_size(most)} (limits.recording)"
        elif self._size + size > self._room:
            why_not = f"those of all jobs came to more than {format_size(self._room)} (host.recordings)"
        else:
            tape.calls.append(msgspec.Raw(packed))
            tape.size += size
            self._size += size
            return
        self._rewind(tape)
        tape.why_not = f"its host calls were not kept: {why_not}"

    def take(self, worker: int, ticket: int, job: Job, functions: Sequence[HostFunction]) -> Recorded:
        """Return what there is of the calls of a job that has ended; `functions` are those that it could call."""
        tape = self._tapes.pop((worker, ticket), None)
        if tape is not None:
            self._size -= tape.size
        if not job.caps.recording or not functions:
            return NOTHING
        if tape is not None and tape.why_not is not None:
            return Recorded(None, tape.why_not)
        calls = [] if tape is None else tape.calls
        return Recorded(_encode(_Packing(recorded_functions(functions), self._most, calls)))

    def drop_all(self, worker: int) -> None:
        """Forget the calls of a worker that is gone: the next attempt makes its own."""
        for key in [key for key in self._tapes if key[0] == worker]:
            self._rewind(self._tapes.pop(key))

    def _tape(self, worker: int, ticket: int) -> _Tape:
        tape = self._tapes.get((worker, ticket))
        if tape is None:
            tape = self._tapes[worker, ticket] = _Tape()
        return tape

    def _rewind(self, tape: _Tape) -> None:
        self._size -= tape.size
        tape.calls, tape.size = [], 0


def recorded_functions(functions: Sequence[HostFunction]) -> tuple[RecordedFunction, ...]:
    """Return functions as a recording has them, by their names."""
    known = sorted([function.known for function in functions], key=lambda each: (each.module, each.name))
    return tuple(
        [
            RecordedFunction(each.module, each.name, each.params, each.results, each.price, each.max_calls)
            for each in known
        ]
    )


def _refusal(asked: Asked, function: HostFunction, why: str) -> Answer:
    return Answer(asked.ticket, asked.call, error=f"host function {function.name}, not as recorded: {why}")
