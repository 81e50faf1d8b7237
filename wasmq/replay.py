"""Replay: a job's call run once more, and whether it came to the same answer for the same fuel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from wasmq.config import (
    Config,
    HostConfig,
    LimitCeilings,
    LimitsConfig,
    ModulesConfig,
    PricesConfig,
    SchedulerConfig,
    Size,
)
from wasmq.errors import NotDeterministic, NotRecorded
from wasmq.receipts import OVERFLOW, Receipt, obstacle
from wasmq.recording import RecordedHost
from wasmq.types import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wasmq.config import EngineName
    from wasmq.handles import JobHandle
    from wasmq.job import Outcome
    from wasmq.recording import RecordedFunction
    from wasmq.scheduler import Scheduler
    from wasmq.store import JobRecord

__all__ = ["Replay", "check_replayable", "compared", "recorded", "recording_of", "run_elsewhere"]

_SHOWN: Final = 60  # characters of a value


class Replay(msgspec.Struct, frozen=True):
    """What running a job again came to: the receipts `then` and `now`, and in which points they differ.

    `differences` are lines for people, none when status, result and fuel agree to the unit; `notes` say what is to be
    known of them besides. `again` is the id of the job that ran the call again, None where that was
    outside the queue.
    """

    job: str
    again: str | None
    then: Receipt
    now: Receipt
    differences: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether status, result and fuel are the same."""
        return not self.differences


def check_replayable(record: JobRecord) -> None:
    """Raise `NotDeterministic`, saying why, for a job that need not end the same way again."""
    why_not = obstacle(record.job, record.outcome)
    if why_not is not None:
        raise NotDeterministic(f"job {record.id} cannot be replayed: {why_not}")


def recording_of(record: JobRecord) -> bytes | None:
    """Return the packed recording that a replay is answered from; None where the job could make no host calls."""
    return None if record.job.varies != "host" or record.outcome is None else record.outcome.recording


def recorded(record: JobRecord) -> bytes:
    """Return the packed recording of a job that has ended. Raises `NotRecorded`, saying why there is none."""
    outcome = record.outcome
    if outcome is not None and outcome.recording is not None:
        return outcome.recording
    if outcome is None:
        why_not = "it has not ended"
    elif not record.job.caps.recording:
        why_not = 'it was not submitted with "record"'
    else:
        why_not = outcome.unrecorded or "it could call no host functions, or no run of it came to an end"
    raise NotRecorded(f"job {record.id} has no recording: {why_not}")


def compared(job: str, again: str | None, then: Outcome, now: Outcome) -> Replay:
    """Return how two outcomes of one call compare; both must have a receipt."""
    one, other = then.receipt, now.receipt
    if one is None or other is None:
        raise AssertionError("an outcome of no job was replayed")
    differences = _differences(then, one, now, other)
    notes = []
    both = [outcome.status == "trapped" and outcome.trap is not None and outcome.trap.code for outcome in (then, now)]
    if OVERFLOW in both and one.engine != other.engine:
        notes.append("where a recursion overflows the stack depends on the engine, and so does what was spent by then")
        if both == [OVERFLOW, OVERFLOW]:
            differences = [line for line in differences if line.startswith("call")]
    if differences and one.prices != other.prices:
        notes.append(f"WASI calls and bytes cost {one.prices} then and {other.prices} now")
    if differences and one.engine_version != other.engine_version:
        notes.append(f"the engine was {one.engine_version} then and is {other.engine_version} now")
    return Replay(job, again, one, other, tuple(differences), tuple(notes))


async def run_elsewhere(
    engine: EngineName,
    receipt: Receipt,
    modules: Sequence[bytes],
    submit: Callable[[Scheduler], Awaitable[JobHandle]],
    *,
    directory: str | None = None,
    recording: bytes | None = None,
) -> Outcome:
    """Run a call in a scheduler of its own, with an engine, and the limits and prices of a receipt.

    `modules` are the bytes of all that the call needs; `directory` is where compiled ones are kept. The host functions
    of a packed `recording` are there as far as the guest can tell, and none is called: `submit` has to pass it on.
    Raises what `load` and `submit` raise.
    """
    from wasmq.scheduler import Scheduler

    limits: dict[str, Any] = {
        name: max(1, value) if name in ("files", "host_calls") else value for name, value in receipt.limits.items()
    }
    sizes = {name: Size(limits[name]) for name in ("memory", "output", "files")}
    host = HostConfig()
    functions: tuple[RecordedFunction, ...] = ()
    if recording is not None:
        then = RecordedHost.unpack(recording)
        functions = then.functions
        # What it makes of the calls has to find room again, and nobody else has a part in this scheduler.
        sizes["recording"] = LimitCeilings().recording
        host = HostConfig(max_bytes=Size(then.max_bytes), recordings=sizes["recording"])
    call, byte = receipt.prices
    config = Config(
        scheduler=SchedulerConfig(workers=1, engine=engine),
        limits=LimitsConfig(**(limits | sizes), max=LimitCeilings(**(limits | sizes))),
        prices=PricesConfig(call=call, byte=byte),
        host=host,
        modules=ModulesConfig(
            directory=directory, max_size=Size(max([ModulesConfig().max_size, *[len(wasm) for wasm in modules]]))
        ),
    )
    async with Scheduler(store="memory://", config=config) as scheduler:
        for function in functions:
            _stand_in(scheduler, function)
        for wasm in modules:
            await scheduler.load(wasm)
        return await (await submit(scheduler))


def _stand_in(scheduler: Scheduler, function: RecordedFunction) -> None:
    """Offer a function that guests can import as the recorded one, for its price."""

    def never(*_: Any) -> None:
        raise AssertionError("a host call that is answered from a recording was made")

    scheduler.host_function(
        function.module,
        function.name,
        price=function.price,
        max_calls=function.max_calls,
        tenants="*",
        params=function.params,
        results=function.results,
    )(never)


def _differences(then: Outcome, one: Receipt, now: Outcome, other: Receipt) -> list[str]:
    found = []
    if one.call != other.call:
        found.append("call: it was not the same, by its digest")
    if one.status != other.status:
        found.append(_line("status", one.status, other.status))
    if one.fuel != other.fuel:
        found.append(_line("fuel", one.fuel, other.fuel))
    if one.recording != other.recording:
        found.append(f"host calls: they were not those that were recorded; now {now.error or 'it made fewer'}")
    if one.result != other.result:
        details = [_line(name, *pair) for name, pair in _details(then, now).items() if pair[0] != pair[1]]
        if not details and one.status == other.status:
            details = [_line("result", one.result[:12], other.result[:12])]
        found += details
    return found


def _details(then: Outcome, now: Outcome) -> dict[str, tuple[Any, Any]]:
    """Return what the digest of a result is over, pair by pair, as it is shown."""
    return {
        "value": (repr(then.value), repr(now.value)),
        "trap": (then.trap and then.trap.code, now.trap and now.trap.code),
        "exit code": (then.exit_code, now.exit_code),
        "stdout": (then.stdout, now.stdout),
        "stderr": (then.stderr, now.stderr),
        "files": (sorted(then.files.items()), sorted(now.files.items())),
    }


def _line(name: str, then: object, now: object) -> str:
    if isinstance(then, bytes) and isinstance(now, bytes):
        place = next((at for at, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), min(len(then), len(now)))
        return f"{name}: {len(then)} bytes then, {len(now)} now; they differ from byte {place} on"
    if isinstance(then, list) and isinstance(now, list):
        left, right = dict(then), dict(now)
        names = [name for name in sorted({*left, *right}) if left.get(name) != right.get(name)]
        return f"{name}: {len(names)} differ, first {printable(names[0], _SHOWN)!r}"
    return f"{name}: {printable(str(then), _SHOWN)} then, {printable(str(now), _SHOWN)} now"
