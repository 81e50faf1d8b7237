"""The nouns: call, limits, job, outcome. Frozen values; they change only by being replaced."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from wasmq import wit
from wasmq.receipts import Receipt, receipt_of
from wasmq.wit_values import read_result
from wasmq_worker.protocol import Reference

__all__ = [
    "Access",
    "Call",
    "Caps",
    "Frame",
    "Job",
    "Limits",
    "OnExhausted",
    "Outcome",
    "Program",
    "Reference",
    "Returned",
    "Reuse",
    "State",
    "Status",
    "Trap",
    "Value",
    "Varies",
    "limits_again",
]

Status: TypeAlias = Literal[
    "succeeded", "trapped", "out_of_fuel", "out_of_memory", "timed_out", "exited", "cancelled", "lost"
]
State: TypeAlias = Literal["queued", "running", "finished"]
OnExhausted: TypeAlias = Literal["stop", "suspend"]
"""What becomes of a job that has spent its fuel: it ends as `out_of_fuel`, or waits to be refuelled."""
Reuse: TypeAlias = Literal["never", "flight", "result"]
"""Whether a job may be answered by another's run: no, by one that is under way, or by one that has ended as well."""
Varies: TypeAlias = Literal["wasi", "host", "unknown"]
"""What lets a call's answer differ from run to run: the clock and chance of WASI, host functions, or nobody knows."""
Access: TypeAlias = Literal["ro", "rw"]
"""What a guest may do with a directory: only read, or write too."""
Value: TypeAlias = int | float | bytes | Reference | None
"""A core value: i32 and i64 are signed ints, f32 and f64 floats, v128 16 bytes, little-endian.

A reference is None when it is null; any other can only come out, as a `Reference` that says its kind.
"""


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What one job may spend. What is left out takes the configured default; there is no "unlimited".

    `fuel` is in units of wasmtime's meter (about one per executed instruction), `memory` the sum over the job's linear
    memories in bytes (or text such as "16MiB"), `timeout` seconds of wall time once running, `output` the bytes kept
    of stdout and stderr together, `files` the bytes that the job's files may have together, `host_calls` how often it
    may call host functions. `suspend` is the seconds that a job submitted with `on_exhausted="suspend"` waits for more
    fuel, each time that it has spent what it had. `recording` is the bytes that the recording of its host calls may
    have, of a job submitted with `record`.
    """

    fuel: int | None = None
    memory: int | str | None = None
    timeout: float | None = None
    output: int | str | None = None
    files: int | str | None = None
    host_calls: int | None = None
    suspend: float | None = None
    recording: int | str | None = None


class Caps(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Limits with every blank filled in: fuel, bytes, seconds, bytes, bytes, calls, seconds, bytes.

    `suspend` is 0 for a job that ends when its fuel is spent, `recording` for one whose host calls are not recorded.
    """

    fuel: int
    memory: int
    timeout: float
    output: int
    files: int = 0
    host_calls: int = 10_000
    suspend: float = 0.0
    recording: int = 0


def limits_again(caps: Caps) -> Limits:
    """Return the limits that ask for the same again."""
    return Limits(
        fuel=caps.fuel,
        memory=caps.memory,
        timeout=caps.timeout,
        output=caps.output,
        files=caps.files or None,
        host_calls=caps.host_calls or None,
        suspend=caps.suspend or None,
        recording=caps.recording or None,
    )


class Program(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a WASI guest sees of the world: arguments, environment, standard input, files; nothing else exists for it.

    `argv` are the arguments that follow the program's name, which is `name`. `files` are put into the job's own
    scratch directory before it starts, by their path in it; a path that ends in "/" is an empty directory. `collect`
    names those that the outcome is to bring back; a name that ends in "/" stands for all files below. `dirs` are
    directories that the guest is handed under names of their own beside the whole ("/" and "."), to write in ("rw") or
    only to read ("ro"). With `deterministic` the guest's clock and random numbers are the same in each run.
    """

    argv: tuple[str, ...] = ()
    env: dict[str, str] = {}
    stdin: bytes = b""
    files: dict[str, bytes] = {}
    collect: tuple[str, ...] = ()
    dirs: dict[str, Access] = {}
    name: str = "program"
    deterministic: bool = False

    def weight(self) -> int:
        """Return the characters and bytes of all that the guest is given."""
        names: list[str] = [*self.argv, *self.env, *self.env.values(), *self.files, *self.collect]
        return (
            sum([len(name) for name in names])
            + len(self.stdin)
            + sum([len(content) for content in self.files.values()])
        )


class Call(msgspec.Struct, frozen=True, gc=False):
    """What is called: the module's digest, the export's name and its arguments, already checked against its type.

    `program` is what a WASI guest is to see, None when nothing was said of it. `links` are the modules that the call is
    linked with, each as the name by which it is imported from and its digest, sorted by name. `grant` names the host
    functions that were granted to this call alone, sorted.
    """

    module: str
    export: str
    args: tuple[Value, ...] = ()
    program: Program | None = None
    links: tuple[tuple[str, str], ...] = ()
    grant: tuple[str, ...] = ()

    def weight(self) -> int:
        """Return about how many bytes its guest is given, if they are more than a few."""
        size = 0 if self.program is None else self.program.weight()
        return size + sum([len(value) for value in self.args if isinstance(value, bytes)])

    def modules(self) -> tuple[str, ...]:
        """Return the digests of all modules that the call needs, its own first; more than one if it is linked."""
        return (self.module, *[digest for _, digest in self.links]) if self.links else (self.module,)


class Job(msgspec.Struct, frozen=True, gc=False):
    """One accepted call: who wants it, what it may spend, and when it may start.

    `order` is the start tag that fairness gave it (fuel of virtual time); `due` and `submitted_at` are seconds on the
    store's wall clock; `cost` is the fuel it is expected to use. `attempt` counts its starts and
    never goes back; `returned` counts those of them that do not count, because the job was handed back unharmed.
    `refuelled` is the fuel that was added to its cap while it ran. By its `deadline`, in seconds on the store's clock,
    it is to have ended. `varies` is None when the call gives the same answer each time that it runs, at whatever price
    it has; `reuse` says whether another job's run may answer it then. `recording` is what its host calls are answered
    from, as `wasmq.recording` packs it; None for a job whose calls are made.
    """

    id: str
    call: Call
    caps: Caps
    tenant: str
    priority: int
    key: str | None
    submitted_at: float
    due: float
    order: float
    cost: float
    attempt: int = 0
    returned: int = 0
    refuelled: int = 0
    deadline: float | None = None

    @property
    def fuel(self) -> int:
        """What it may spend all in all: its cap, and the fuel that was added while it ran."""
        return self.caps.fuel + self.refuelled

    @property
    def refuellable(self) -> bool:
        """Whether it waits for more when its fuel is spent."""
        return self.caps.suspend > 0.0

    varies: Varies | None = "unknown"
    reuse: Reuse = "never"
    recording: bytes | None = None


class Frame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of a trap's backtrace, innermost first: the function's index, its name and its byte offset if known."""

    function: int
    name: str | None
    offset: int | None


class Trap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why the engine stopped a guest: a stable code such as `unreachable`, and where."""

    code: str
    backtrace: tuple[Frame, ...] = ()


class Returned(msgspec.Struct, frozen=True, gc=False):
    """What a component's function returned: its type, and the value as it went over the frames."""

    type: wit.ValueType | None
    packed: bytes

    def natural(self) -> Any:
        """Return the value as natural Python: see `wasmq.wit_values`."""
        return read_result(self.type, self.packed)


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a job ended, and its exact bill.

    `fuel_used` is in fuel, `memory_peak` in bytes, `queued` and `ran` in seconds. `stdout` and `stderr` are what was
    kept of them, `files` the files that were asked for, `exit_code` a WASI command's. `error` is one line that a person
    understands, None when the job succeeded. `engine` is what ran it, `engine_version` the engine's version with a
    digest of the settings that decide what one unit of fuel means; `prices` are the fuel of one call of a WASI function
    and of each byte that it moved. `returned` is a component's result, which `value` gives as natural Python; `values`
    are then none. `reused` is the id of the job whose run answered this one, None when it ran itself; `fuel_saved` is
    what that run had used and this job was not charged. `recording` is what became of its host calls, as
    `wasmq.recording` packs it, and `unrecorded` why that was not kept, where it was wanted; both stay with the daemon.
    `basis` is what the receipt is made of: the job, or the receipt itself where another process made it.
    """

    status: Status
    values: tuple[Value, ...] = ()
    fuel_used: int = 0
    memory_peak: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    files: dict[str, bytes] = {}
    exit_code: int | None = None
    error: str | None = None
    trap: Trap | None = None
    queued: float = 0.0
    ran: float = 0.0
    attempts: int = 0
    worker: str | None = None
    engine: str = ""
    engine_version: str = ""
    returned: Returned | None = None
    prices: tuple[int, int] = (1_000, 1)
    reused: str | None = None
    fuel_saved: int = 0
    recording: bytes | None = None
    unrecorded: str | None = None
    basis: Any = None

    @property
    def receipt(self) -> Receipt | None:
        """What was run, what came of it and at what price, in digests: see `wasmq.receipts`.

        None of an outcome that belongs to no job. It is made anew each time, in some microseconds and one for each 500
        bytes that the job was given or left.
        """
        if self.basis is None or isinstance(self.basis, Receipt):
            return self.basis
        return receipt_of(self.basis, self)

    def weight(self) -> int:
        """Return about how many bytes the job left, if they are more than a few."""
        size = len(self.stdout) + len(self.stderr)
        if self.recording is not None:
            size += len(self.recording)
        if self.files:
            size += sum([len(name) + len(content) for name, content in self.files.items()])
        return size if self.returned is None else size + len(self.returned.packed)

    def of(self, job: Job) -> Outcome:
        """Return this as the outcome of a job, with a receipt."""
        return self if self.basis is not None else msgspec.structs.replace(self, basis=job)

    @property
    def value(self) -> Any:
        """The result: None without one, the value itself when there is one, a tuple when the export returns several."""
        if self.returned is not None:
            return self.returned.natural()
        if len(self.values) == 1:
            return self.values[0]
        return self.values or None
