"""Frames that come from a worker: hostile until they are decoded."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

from wasmq_worker.protocol.parts import FEW, MAX_LISTED, Frame, Item, Size, Values, Wall

QUANTUM_BUCKETS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 1.0)
"""Upper bounds in seconds of the buckets in which a worker counts the length of its turns."""
BEGUN_SLOTS = 512
"""Tickets in a worker's record of the jobs that have begun, the last ones: more than begin, at two notes each, before
the scheduler has heard of them."""
BEGUN_BYTES = 8 * BEGUN_SLOTS
"""The size of that record: a 64-bit number of this machine for each slot; 0 is no ticket."""
ASK_WINDOW = 16 * 2**20
"""Bytes that the unanswered host calls of one worker may carry together; more of them wait in the worker."""

_LISTED: Final = msgspec.Meta(max_length=MAX_LISTED)
_Word: TypeAlias = Annotated[str, msgspec.Meta(max_length=200)]
_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e12)]  # neither NaN nor infinite
_Pace: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e15)]


class Backtrace(Item, frozen=True):
    """One line of a backtrace: function index, its name if the module names it, byte offset in the module if known."""

    function: int
    name: str | None
    offset: int | None


class Printed(Item, frozen=True):
    """What a guest left behind: the output that was kept, whether there was more, and the files that were wanted."""

    stdout: bytes
    stderr: bytes
    stdout_truncated: bool
    stderr_truncated: bool
    files: Annotated[dict[str, bytes], _LISTED]

    def weight(self) -> int:
        """Return about how many bytes this takes in a frame."""
        files = sum([len(name) + len(content) for name, content in self.files.items()])
        return len(self.stdout) + len(self.stderr) + files


STARVED = "starved"
"""The status of a job whose worker had no memory left for what it may have: nothing that the job could help."""


class Ended(Item, frozen=True):
    """How one job ended: a status, the results, fuel, bytes, seconds, and for a failure one line and the trap.

    `exit_code` and `printed` are a WASI guest's.
    """

    ticket: int
    status: str
    values: Values = ()
    fuel_used: int = 0
    memory_peak: Size = 0
    ran: _Seconds = 0.0
    error: str | None = None
    trap: str | None = None
    backtrace: Annotated[tuple[Backtrace, ...], FEW] = ()
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] | None = None
    printed: Printed | None = None

    def size(self) -> int:
        """Return about how many bytes this takes in a frame, if it is more than a few."""
        size = 0 if self.printed is None else self.printed.weight()
        return size + len(self.values[0]) if self.values and isinstance(self.values[0], bytes) else size


class Ready(Frame, frozen=True):
    """The first frame up: the worker can take jobs, behind these walls. `pace` is fuel in a second of one core."""

    engine_version: _Word
    pace: _Pace
    walls: Annotated[tuple[Wall, ...], FEW] = ()


class Outcomes(Frame, frozen=True):
    """Up: jobs that ended since the last one."""

    ended: Annotated[list[Ended], _LISTED]


class Underway(Frame, frozen=True):
    """Up: jobs that have had their first turn and want more."""

    tickets: Annotated[list[int], _LISTED]


class Exhausted(Item, frozen=True):
    """A job that has spent all of `fuel`, its cap by then."""

    ticket: int
    fuel: int


class Suspended(Frame, frozen=True):
    """Up: refuellable jobs that have spent their fuel, and wait until they are refuelled or given up."""

    exhausted: Annotated[list[Exhausted], _LISTED]


class Asked(Item, frozen=True):
    """A guest's call of a host function: the job's `call`th, counted from 1.

    `args` are the arguments, bytes as bytes; when bytes are to come back, the room for them follows.
    """

    ticket: int
    call: int
    function: int
    args: Values


class Asks(Frame, frozen=True):
    """Up: guests that wait for an answer, each for a single one."""

    asked: Annotated[list[Asked], _LISTED]


class Unmappable(Frame, frozen=True):
    """Up: the artifact of `module` cannot be mapped; the jobs that named it come back in `tickets`, never started."""

    module: int
    reason: str
    tickets: Annotated[list[int], _LISTED]


class Glimpse(Item, frozen=True):
    """What a running job has done: its fuel so far, a multiple of a slice, and the output beyond what was known."""

    watch: int
    fuel: int
    stdout: bytes
    stderr: bytes


class Progress(Frame, frozen=True):
    """Up: the answers to `Watch` frames; each answers one, and a watch is over with it."""

    seen: Annotated[list[Glimpse], _LISTED]


class Pulse(Frame, frozen=True):
    """Up, at a steady pace: the worker lives.

    `fresh` jobs wait for their first turn, `running` have had it, `suspended` are those of them that wait for fuel;
    `quanta` counts turns per `QUANTUM_BUCKETS` (the
    last count is what lies above them) since the last pulse, `quanta_total` their sum in seconds.
    """

    fresh: Size
    running: Size
    quanta: Annotated[list[int], FEW]
    quanta_total: _Seconds
    suspended: Size = 0


Upward: TypeAlias = Ready | Outcomes | Underway | Suspended | Asks | Unmappable | Progress | Pulse
