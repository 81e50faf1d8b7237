"""Suspended instances: they go on as if they had never stopped, for the same bill, and meanwhile cost nobody a turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmq_worker.protocol import Ended, HostImport, Refuel, Start, Watch

from .driver import GUESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .driver import Mapped, Worker

TICK = HostImport(1, "env", "tick", ("i32",), ("i32",), 700, 10**6)
READ = HostImport(2, "env", "read", (), ("bytes",), 500, 10**6)
WASI = ("fd_write", "random_get", "clock_time_get", "poll_oneoff", "proc_exit")
CALLER = b"""(module
  (import "env" "tick" (func $tick (param i32) (result i32)))
  (import "env" "read" (func $read (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "calls") (param $n i32) (result i32) (local $sum i32)
    (loop $again
      ;; Two calls in one stretch: the engine does not look at its meter between them.
      (local.set $sum (i32.add (call $tick (local.get $sum)) (call $tick (local.get $sum))))
      (local.set $sum (i32.add (local.get $sum) (call $read (i32.const 0) (i32.const 1000))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.add (local.get $sum) (i32.load8_u (i32.const 999)))))"""
PROGRAM = b"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\0a\\00\\00\\00")
  (data (i32.const 16) "0123456789")
  (func $sleep (param $ns i64)
    (i32.store (i32.const 272) (i32.const 1))
    (i64.store (i32.const 280) (local.get $ns))
    (drop (call $poll (i32.const 256) (i32.const 320) (i32.const 1) (i32.const 384))))
  (func (export "program") (param $n i32) (result i32) (local $failed i32)
    (loop $again
      ;; All in one stretch.
      (local.set $failed (i32.or (local.get $failed)
        (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
      (local.set $failed (i32.or (local.get $failed) (call $random (i32.const 1024) (i32.const 5000))))
      (local.set $failed (i32.or (local.get $failed) (call $clock (i32.const 1) (i64.const 1) (i32.const 512))))
      (call $sleep (i64.const 1000))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $failed))
  (func (export "leave")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (i32.const 3))))"""
# A start function that works for a while, and calls what follows.
STARTED = b"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $n (mut i32) (i32.const 3000))
  (func $start
    (loop $again (global.set $n (i32.sub (global.get $n) (i32.const 1))) (br_if $again (global.get $n)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 8))))
  (start $start)
  (func (export "get") (result i32) (global.get $n)))"""
# What a fill costs is charged in one piece, however large: the only way to be out by much without a call.
FILL = b"""(module (memory (export "memory") 2)
  (func (export "fill") (param $n i32) (result i32)
    (loop $again
      (memory.fill (i32.const 0) (local.get $n) (i32.const 50000))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.load (i32.const 49996))))"""

PLAIN: list[tuple[str | bytes, str, tuple[Any, ...]]] = [
    ("mul.wat", "mul", (2, 4)),
    ("fib.wat", "fib", (12,)),
    ("loop.wat", "burn", (9_000,)),
    ("grow.wat", "grow_until_refused", (16,)),
    ("start.wat", "get", ()),
    ("life.wasm", "life", (12, 12, 3, 1)),
    ("traps.wat", "unreachable", ()),
    (FILL, "fill", (6,)),
]
CAPS = st.lists(st.floats(0.001, 0.5), min_size=1, max_size=12)


def mapped(worker: Worker, guest: str | bytes) -> Mapped:
    """Map a guest once: a file, or one of those above with what it imports."""
    source = guest if isinstance(guest, bytes) else (GUESTS / guest).read_bytes()
    known = worker._modules.get(source)
    if known is None:
        wasi = {PROGRAM: WASI, STARTED: ("fd_write",)}.get(source, ())
        host = (TICK, READ) if source == CALLER else ()
        known = worker._modules[source] = worker.map_new(source, host=host, wasi=wasi)
    return known


def answers(worker: Worker) -> None:
    """Answer every host call that has come."""
    for asked in list(worker.asked.values()):
        del worker.asked[asked.ticket]
        if asked.function == TICK.function:
            worker.answer(asked, (asked.args[0] * 3 + 1) % 1_000)  # type: ignore[operator]
        else:
            worker.answer(asked, 1_000, data=b"x" * 1_000)


def free_run(worker: Worker, guest: str | bytes, export: str, args: tuple[Any, ...]) -> Ended:
    """Run a job that may spend all it wants, and can never be suspended."""
    job = worker.assign(mapped(worker, guest), export, *args)
    worker.start(job)
    while job.ticket not in worker.ended:
        worker.until(lambda: job.ticket in worker.asked or job.ticket in worker.ended)
        answers(worker)
    return worker.ended[job.ticket]


def split_run(
    worker: Worker, guest: str | bytes, export: str, args: tuple[Any, ...], grants: Iterator[int]
) -> tuple[Ended, int, int]:
    """Run a job that gets fuel piece by piece; returns its end, the last cap, and how often it was suspended."""
    cap = next(grants)
    job = worker.assign(mapped(worker, guest), export, *args, fuel=cap, refuellable=True)
    ticket = job.ticket
    worker.start(job)
    suspensions = 0
    while ticket not in worker.ended:
        worker.until(lambda: ticket in worker.asked or ticket in worker.exhausted or ticket in worker.ended)
        answers(worker)
        if ticket in worker.exhausted:
            assert worker.exhausted.pop(ticket) == cap
            suspensions += 1
            cap += next(grants)
            worker.refuel(ticket, cap)
    return worker.ended[ticket], cap, suspensions


def pieces(total: int, parts: Sequence[float]) -> Iterator[int]:
    """Yield grants, parts of what the job needs, over and over."""
    while True:
        for part in parts:
            yield max(1, int(total * part))


def same(free: Ended, split: Ended) -> bool:
    """Whether two jobs ended alike."""
    return (
        free.status,
        free.values,
        free.memory_peak,
        free.exit_code,
        free.trap,
        free.printed and free.printed.stdout,
    ) == (
        split.status,
        split.values,
        split.memory_peak,
        split.exit_code,
        split.trap,
        split.printed and split.printed.stdout,
    )


@pytest.mark.parametrize(("guest", "export", "args"), PLAIN, ids=[export for _, export, _ in PLAIN])
@given(parts=CAPS)
@settings(max_examples=15)
def test_a_run_in_pieces_is_the_run_in_one(
    workers_of_all_kinds: list[Worker], guest: str | bytes, export: str, args: tuple[Any, ...], parts: list[float]
) -> None:
    """However the fuel comes, result, memory, trap and bill are those of a run that had it all, to the unit."""
    for worker in workers_of_all_kinds:
        free = free_run(worker, guest, export, args)
        split, cap, _ = split_run(worker, guest, export, args, pieces(free.fuel_used, parts))
        assert same(free, split)
        assert split.fuel_used == min(free.fuel_used, cap)


@pytest.mark.parametrize(
    ("guest", "export", "args"),
    [(CALLER, "calls", (5,)), (PROGRAM, "program", (4,)), (PROGRAM, "leave", ()), (STARTED, "get", ())],
    ids=["host calls", "program", "exit", "start function"],
)
@given(parts=CAPS)
@settings(max_examples=10)
def test_a_guest_is_held_in_a_call_that_it_cannot_pay(
    workers_of_all_kinds: list[Worker], guest: bytes, export: str, args: tuple[Any, ...], parts: list[float]
) -> None:
    """Fuel that is spent in the price of a call, by its bytes too, suspends the guest there, and costs the same."""
    for worker in workers_of_all_kinds:
        free = free_run(worker, guest, export, args)
        split, cap, _ = split_run(worker, guest, export, args, pieces(free.fuel_used, parts))
        assert same(free, split)
        assert split.fuel_used == min(free.fuel_used, cap)


def test_each_place_where_fuel_can_end_is_a_suspension_and_no_other(worker: Worker) -> None:
    """With one unit more each time, a job is suspended at just those caps at which another would be out of fuel."""
    module = worker.map(GUESTS / "fib.wat")
    free = worker.run(module, "fib", 4)
    out = [
        cap for cap in range(1, free.fuel_used + 3) if worker.run(module, "fib", 4, fuel=cap).status == "out_of_fuel"
    ]
    job = worker.assign(module, "fib", 4, fuel=1, refuellable=True)
    worker.start(job)
    suspended = []
    while (exhausted := worker.until_suspended(job.ticket)) is not None:
        suspended.append(exhausted.fuel)
        worker.refuel(job.ticket, exhausted.fuel + 1)
    assert suspended == out
    assert worker.ended[job.ticket].values == free.values


def test_a_call_goes_out_only_once_it_is_paid(worker: Worker) -> None:
    """The embedding program hears of a call when it is covered, and never of one that is given up before."""
    job = worker.assign(mapped(worker, CALLER), "calls", 1, fuel=TICK.price, refuellable=True)
    worker.start(job)
    assert worker.until_suspended(job.ticket) is not None
    assert worker.run(GUESTS / "mul.wat", "mul", 2, 4).values == (8,)  # by now a call would have come
    assert not worker.asked
    worker.refuel(job.ticket, 2 * TICK.price)
    worker.answer(worker.question(job.ticket), 1)
    assert worker.until_suspended(job.ticket) is not None
    worker.give_up(job.ticket)
    (ended,) = worker.outcomes([job.ticket])
    assert (ended.status, ended.fuel_used) == ("out_of_fuel", 2 * TICK.price)
    assert not worker.asked


def test_what_is_given_up_is_billed_what_it_was_given(worker: Worker) -> None:
    """A suspended job that is given up ends out of fuel, charged its cap to the unit, with the reason in its line."""
    job = worker.assign(worker.map(GUESTS / "loop.wat"), "spin", fuel=12_345, refuellable=True)
    worker.start(job)
    worker.until_suspended(job.ticket)
    worker.refuel(job.ticket, 23_456)
    worker.until_suspended(job.ticket)
    worker.give_up(job.ticket, reason=", and that was that")
    (ended,) = worker.outcomes([job.ticket])
    assert (ended.status, ended.fuel_used) == ("out_of_fuel", 23_456)
    assert ended.error == "out of fuel: spent all 23456 units, and that was that"


def test_a_job_that_goes_on_is_not_given_up(worker: Worker) -> None:
    """Who is to be given up and was refuelled before goes on; so does one that was never suspended."""
    job = worker.assign(worker.map(GUESTS / "loop.wat"), "burn", 10**6, fuel=1_000, refuellable=True)
    worker.start(job)
    worker.until_suspended(job.ticket)
    worker.send(Refuel(job.ticket, 10**9))
    worker.give_up(job.ticket)
    assert worker.outcomes([job.ticket])[0].status == "succeeded"
    worker.refuel(job.ticket, 10**10)  # has ended: nothing happens
    worker.give_up(job.ticket)
    assert worker.run(GUESTS / "mul.wat", "mul", 2, 4).values == (8,)


def test_refuelling_before_the_fuel_is_spent_raises_the_cap(worker: Worker) -> None:
    """A job that is refuelled in time is never suspended, and an older, smaller cap takes nothing away."""
    job = worker.assign(worker.map(GUESTS / "loop.wat"), "burn", 5 * 10**6, fuel=10**6, refuellable=True)
    worker.send(Start([job]), Refuel(job.ticket, 10**8), Refuel(job.ticket, 2 * 10**6))
    (ended,) = worker.outcomes([job.ticket])
    assert (ended.status, ended.fuel_used) == ("succeeded", 5 * 10**6)
    assert job.ticket not in worker.exhausted


def test_fuel_that_does_not_cover_what_was_spent_leaves_it_suspended(worker: Worker) -> None:
    """A guest that is out by more than it gets stays suspended, and says so again; its bill is what it was given."""
    job = worker.assign(mapped(worker, FILL), "fill", 2, fuel=10, refuellable=True)
    worker.start(job)
    assert worker.until_suspended(job.ticket) is not None
    worker.refuel(job.ticket, 20)
    exhausted = worker.until_suspended(job.ticket)
    assert exhausted is not None
    assert exhausted.fuel == 20
    (ended,) = worker.cancel([job.ticket])
    assert (ended.status, ended.fuel_used) == ("cancelled", 20)


def test_the_timeout_does_not_run_while_suspended(open_worker: Callable[..., Worker]) -> None:
    """A job whose timeout would be over by the time that it is refuelled still has all that was left of it."""
    worker = open_worker(quantum=100_000)
    loop = worker.map(GUESTS / "loop.wat")
    job = worker.assign(loop, "burn", 200_000, fuel=100_000, timeout=0.3, refuellable=True)
    worker.start(job)
    worker.until_suspended(job.ticket)
    late = worker.assign(loop, "spin", fuel=10**15, timeout=0.4)
    worker.start(late)
    assert worker.outcomes([late.ticket])[0].status == "timed_out"  # by now the other's time would be over too
    worker.refuel(job.ticket, 10**6)
    (ended,) = worker.outcomes([job.ticket])
    assert ended.status == "succeeded"
    assert ended.ran < 0.3


def test_a_suspended_instance_takes_no_turn(open_worker: Callable[..., Worker]) -> None:
    """Beside a hundred suspended instances a job has every turn."""
    worker = open_worker(instances=128, suspended=100, pulse=0.01)
    loop = worker.map(GUESTS / "loop.wat")
    jobs = [worker.assign(loop, "spin", fuel=1_000, refuellable=True) for _ in range(100)]
    worker.start(*jobs)
    for job in jobs:
        worker.until_suspended(job.ticket)
    worker.pulses.clear()
    worker.until(lambda: len(worker.pulses) > 1)
    pulse = worker.pulses[-1]
    assert (pulse.fresh, pulse.running, pulse.suspended) == (0, 100, 100)
    assert sum(pulse.quanta) == 0
    ended = worker.cancel([job.ticket for job in jobs])
    assert {(one.status, one.fuel_used) for one in ended} == {("cancelled", 1_000)}


def test_no_more_are_suspended_than_may_be(open_worker: Callable[..., Worker]) -> None:
    """One more than may be suspended ends at once, saying why; when there is room again, the next is suspended."""
    worker = open_worker(suspended=2)
    loop = worker.map(GUESTS / "loop.wat")
    jobs = [worker.assign(loop, "spin", fuel=1_000, refuellable=True) for _ in range(4)]
    worker.start(*jobs[:3])
    worker.until(lambda: len(worker.exhausted) == 2 and len(worker.ended) == 1)
    (ended,) = worker.ended.values()
    assert (ended.status, ended.fuel_used) == ("out_of_fuel", 1_000)
    assert ended.error is not None
    assert "[scheduler] suspended" in ended.error
    worker.cancel([next(iter(worker.exhausted))])
    worker.start(jobs[3])
    assert worker.until_suspended(jobs[3].ticket) is not None


def test_what_a_suspended_job_has_spent_is_told_at_once(worker: Worker) -> None:
    """A watch that wants its answer now gets it, with the exact figure, though nothing has changed."""
    job = worker.assign(worker.map(GUESTS / "loop.wat"), "spin", fuel=77_777, refuellable=True)
    worker.start(job)
    worker.until_suspended(job.ticket)
    seen: list[Any] = []
    take = worker._take
    worker._take = lambda frame: seen.extend(frame.seen) if hasattr(frame, "seen") else take(frame)  # type: ignore[method-assign]
    try:
        worker.send(Watch(1, job.ticket, -1, 2**62, 2**62))
        worker.until(lambda: seen)
    finally:
        worker._take = take  # type: ignore[method-assign]
    assert (seen[0].fuel, seen[0].stdout) == (77_777, b"")


def test_refuelling_what_cannot_be_is_the_schedulers_mistake(open_worker: Callable[..., Worker]) -> None:
    """A cap is never raised for a job that ends when its fuel is spent: the worker says so and ends."""
    worker = open_worker()
    job = worker.assign(worker.map(GUESTS / "loop.wat"), "spin", fuel=10**15)
    worker.start(job)
    worker.send(Refuel(job.ticket, 10))
    assert worker.exit_status() == 1
    assert "is to be refuelled, which cannot be" in worker.last_words()
