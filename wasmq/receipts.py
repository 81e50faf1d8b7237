"""Receipts: what was run, what came of it, and at what price, so that somebody else can check it. Pure.

Every digest is the SHA-256, in hex, of the MessagePack of an array that begins with its own name: docs/receipts.md says
which, element by element. A receipt of a call that gives the same answer each time is the same each time, on whatever
machine; so times, the worker and the number of attempts are not in it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from wasmq.job import Call, Caps, Job, Outcome, Program

__all__ = [
    "OVERFLOW",
    "Receipt",
    "call_digest",
    "inputs_digest",
    "limits_of",
    "obstacle",
    "receipt_of",
    "recording_digest",
    "result_digest",
]

OVERFLOW: Final = "stack_overflow"
"""The trap whose place depends on the engine: its stack frames are larger or smaller."""
_TIMELY: Final = {
    "timed_out": "it ended by the clock, which goes differently each time",
    "cancelled": "it was cancelled",
    "lost": "it was lost: no run of it came to an end",
}
_VARYING: Final = {
    "wasi": 'it may ask WASI for time and chance, and was not submitted with "deterministic"',
    "host": 'it may call host functions, and was not submitted with "record"',
    "unknown": "nobody noted whether it may ask for time, for chance or for host functions",
}
# Keys of maps would need an order; there are no maps in what is encoded.
_encode: Final = msgspec.msgpack.Encoder().encode


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One job's receipt. Digests are SHA-256 in hex; `limits` and `fuel` are in the units of `Limits`.

    `fuel` is what the run spent, `charged` what is on the bill: less only when another job's run gave the answer. With
    `deterministic` another run gives the same `status`, `result` and `fuel`; else `obstacle` says why it need not.
    `recording` is the digest of the host calls that were recorded, from which such a run is answered; None without a
    recording. `digest` is over all the rest but `obstacle`.
    """

    module: str
    links: dict[str, str]
    export: str
    inputs: str
    call: str
    limits: dict[str, int | float]
    status: str
    result: str
    fuel: int
    charged: int
    engine: str
    engine_version: str
    prices: tuple[int, int]
    deterministic: bool
    obstacle: str | None
    digest: str
    recording: str | None = None


def receipt_of(job: Job, outcome: Outcome) -> Receipt:
    """Return the receipt of a job that has ended."""
    call = job.call
    caps = msgspec.structs.replace(job.caps, fuel=job.fuel)
    inputs = inputs_digest(call)
    called = _call_digest(call, inputs)
    result = result_digest(outcome)
    fuel = outcome.fuel_used + outcome.fuel_saved
    why_not = obstacle(job, outcome)
    facts: tuple[Any, ...] = (
        called,
        _limits(caps),
        outcome.status,
        result,
        fuel,
        outcome.fuel_used,
        outcome.engine,
        outcome.engine_version,
        outcome.prices,
        why_not is None,
    )
    recording = None if outcome.recording is None else recording_digest(outcome.recording)
    if recording is not None:
        facts = (*facts, recording)
    return Receipt(
        module=call.module,
        links=dict(call.links),
        export=call.export,
        inputs=inputs,
        call=called,
        limits=limits_of(caps),
        status=outcome.status,
        result=result,
        fuel=fuel,
        charged=outcome.fuel_used,
        engine=outcome.engine,
        engine_version=outcome.engine_version,
        prices=outcome.prices,
        deterministic=why_not is None,
        obstacle=why_not,
        digest=_digest("wasmq receipt 1", *facts),
        recording=recording,
    )


def obstacle(job: Job, outcome: Outcome | None) -> str | None:
    """Return why another run of a job need not end as this one did; None when it must."""
    if outcome is None:
        return "it has not ended"
    if job.varies == "host" and outcome.unrecorded is not None:
        return outcome.unrecorded
    if job.varies is not None and (job.varies != "host" or outcome.recording is None):
        return _VARYING[job.varies]
    return _TIMELY.get(outcome.status)


def inputs_digest(call: Call) -> str:
    """Return the digest of what a call's guest is given: its arguments, and what it sees of the world."""
    return _digest("wasmq inputs 1", call.args, None if call.program is None else _program(call.program))


def call_digest(call: Call) -> str:
    """Return the digest of a call: its modules, its export and what its guest is given."""
    return _call_digest(call, inputs_digest(call))


def result_digest(outcome: Outcome) -> str:
    """Return the digest of what a job left: how it ended, its values, its output and its files."""
    return _digest(
        "wasmq result 1",
        outcome.status,
        outcome.values,
        None if outcome.returned is None else outcome.returned.packed,
        None if outcome.trap is None else outcome.trap.code,
        outcome.exit_code,
        outcome.stdout,
        outcome.stdout_truncated,
        outcome.stderr,
        outcome.stderr_truncated,
        sorted(outcome.files.items()),
    )


def recording_digest(packed: bytes) -> str:
    """Return the digest of a recording, which is given as it is kept."""
    return _digest("wasmq recording 1", msgspec.Raw(packed))


def limits_of(caps: Caps) -> dict[str, int | float]:
    """Return what a job might spend, by the names of `Limits`."""
    return {
        "fuel": caps.fuel,
        "memory": caps.memory,
        "timeout": caps.timeout,
        "output": caps.output,
        "files": caps.files,
        "host_calls": caps.host_calls,
    }


def _call_digest(call: Call, inputs: str) -> str:
    return _digest("wasmq call 1", call.module, call.links, call.export, inputs)


def _limits(caps: Caps) -> tuple[int | float, ...]:
    # A whole number of seconds is a float as well.
    return caps.fuel, caps.memory, float(caps.timeout), caps.output, caps.files, caps.host_calls


def _program(program: Program) -> tuple[Any, ...]:
    # A guest can see in which order it was given variables and files, so that order counts.
    return (
        program.name,
        program.argv,
        list(program.env.items()),
        program.stdin,
        list(program.files.items()),
        list(program.dirs.items()),
        program.collect,
        program.deterministic,
    )


def _digest(*parts: Any) -> str:
    return hashlib.sha256(_encode(parts)).hexdigest()
