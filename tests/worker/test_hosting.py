"""Host calls as the worker makes them: what goes out, what comes in, what it costs, what parks meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wasmq_worker.protocol import ASK_WINDOW, Answer, Answers, Ended, HostImport

if TYPE_CHECKING:
    from collections.abc import Callable

    from .driver import Mapped, Worker

PAGE = 65_536
U32 = 2**32 - 1
PRICE = 500
LIMIT = 1_000_000  # of a function's own calls, where the test is about something else
NUMBERS = HostImport(1, "env", "numbers", ("i32", "i64", "f32", "f64"), ("f64", "f32", "i64", "i32"), PRICE, LIMIT)
TELL = HostImport(2, "env", "tell", ("bytes", "i32", "str"), (), PRICE, LIMIT)
READ = HostImport(3, "env", "read", ("i64",), ("bytes",), PRICE, LIMIT)
TICK = HostImport(4, "env", "tick", (), (), PRICE, LIMIT)
RARE = HostImport(5, "env", "rare", (), (), PRICE, 2)
HOST = (NUMBERS, TELL, READ, TICK, RARE)

GUEST = b"""(module
  (import "env" "numbers" (func $numbers (param i32 i64 f32 f64) (result f64 f32 i64 i32)))
  (import "env" "tell" (func $tell (param i32 i32 i32 i32 i32)))
  (import "env" "read" (func $read (param i64 i32 i32) (result i32)))
  (import "env" "tick" (func $tick))
  (import "env" "rare" (func $rare))
  (memory (export "memory") 1)
  (data (i32.const 0) "hello w\\c3\\b6rld")
  (func (export "numbers") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
    (call $numbers (local.get 0) (local.get 1) (local.get 2) (local.get 3)))
  (func (export "tell") (param i32 i32 i32 i32 i32)
    (call $tell (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))
  (func (export "read") (param i64 i32 i32) (result i32) (call $read (local.get 0) (local.get 1) (local.get 2)))
  (func (export "read_at") (param i32) (result i32 i64)
    (call $read (i64.const 7) (i32.const 100) (local.get 0)) (i64.load (i32.const 100)))
  (func (export "tick") (call $tick))
  (func (export "ticks") (param $n i32)
    (loop $again (call $tick) (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "rare") (call $rare) (call $tick) (call $rare) (call $rare))
  (func (export "mul") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))"""
BARE = b"""(module
  (import "env" "read" (func $read (param i64 i32 i32) (result i32)))
  (import "env" "tick" (func $tick))
  (func (export "read") (result i32) (call $read (i64.const 0) (i32.const 0) (i32.const 0)))
  (func (export "tick") (call $tick)))"""
STARTS = b"""(module
  (import "env" "tick" (func $tick))
  (global $ticks (mut i32) (i32.const 0))
  (func $start (call $tick) (global.set $ticks (i32.const 1)))
  (func (export "_initialize") (call $tick) (global.set $ticks (i32.add (global.get $ticks) (i32.const 1))))
  (func (export "count") (result i32) (global.get $ticks))
  (start $start))"""


@pytest.fixture
def guest(worker: Worker) -> Mapped:
    """The guest, mapped with all its functions."""
    return guest_of(worker)


_mapped: dict[tuple[int, bytes], Mapped] = {}


def guest_of(worker: Worker, source: bytes = GUEST) -> Mapped:
    """Map a guest once in each worker."""
    found = _mapped.get((id(worker), source))
    if found is None:
        host = [each for each in HOST if f'"{each.name}" (func'.encode() in source]
        found = _mapped[id(worker), source] = worker.map_new(source, host=host)
    return found


def end_of(worker: Worker, ticket: int) -> Ended:
    return worker.outcomes([ticket])[0]


def test_numbers_cross_both_ways(worker: Worker, guest: Mapped) -> None:
    """Each type, several results, and nothing of them changes on the way."""
    given = (-1, -(2**63), 0.5, 1e300)
    (ticket,) = worker.start(worker.assign(guest, "numbers", *given))
    asked = worker.question(ticket)
    assert (asked.call, asked.function, asked.args) == (1, NUMBERS.function, given)
    worker.answer(asked, -0.25, 1.5, 2**63 - 1, -(2**31))
    ended = end_of(worker, ticket)
    assert ended.values == (-0.25, 1.5, 2**63 - 1, -(2**31))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.tuples(st.integers(0, U32), st.integers(0, U32)) | st.tuples(st.integers(0, PAGE), st.integers(0, 100)),
    second=st.tuples(st.integers(0, U32), st.integers(0, U32)) | st.tuples(st.integers(0, PAGE), st.integers(0, 100)),
)
@example((0, 12), (0, 0))
@example((PAGE, 0), (0, PAGE))
@example((PAGE + 1, 0), (0, 0))
@example((0, 0), (1, PAGE))
@example((U32, U32), (0, 0))
@example((0, 0), (1, U32))
def test_bytes_are_read_inside_the_guests_memory_only(
    worker: Worker, first: tuple[int, int], second: tuple[int, int]
) -> None:
    """Whatever pointers it passes: bytes that lie in its memory go out as they are, all others end that job."""
    guest = guest_of(worker)
    content = b"hello w\xc3\xb6rld".ljust(PAGE, b"\0")
    (ticket,) = worker.start(worker.assign(guest, "tell", *map(signed, (*first, 7, *second))))
    wrong = [place for place, (start, size) in enumerate((first, second)) if start + size > PAGE]
    if wrong:
        start, size = (first, second)[wrong[0]]
        ended = end_of(worker, ticket)
        assert (ended.status, ended.trap) == ("trapped", "host")
        assert ended.error == (
            f"trapped: host function env.tell: argument {wrong[0] * 2 + 1}: {size} bytes at {start} are outside the "
            f"guest's memory of {PAGE} bytes"
        )
        return
    asked = worker.question(ticket)
    assert asked.args == (content[first[0] : sum(first)], 7, content[second[0] : sum(second)])
    worker.answer(asked)
    ended = end_of(worker, ticket)
    assert ended.status == "succeeded"
    assert ended.fuel_used - end_of_tell(worker) == first[1] + second[1]


def end_of_tell(worker: Worker) -> int:
    """Return the fuel of the same call without any bytes."""
    (ticket,) = worker.start(worker.assign(guest_of(worker), "tell", 0, 0, 7, 0, 0))
    worker.answer(worker.question(ticket))
    return end_of(worker, ticket).fuel_used


def signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number


@pytest.mark.parametrize(("start", "room"), [(0, PAGE + 1), (PAGE, 1), (U32, U32), (PAGE + 1, 0)])
def test_room_for_a_result_must_be_inside_the_memory(worker: Worker, guest: Mapped, start: int, room: int) -> None:
    """All of it, before anything is asked."""
    ended = worker.run(guest, "read", 0, signed(start), signed(room))
    assert (ended.status, ended.trap) == ("trapped", "host")
    assert ended.error == (
        f"trapped: host function env.read: room for the result: {room} bytes at {start} are outside the guest's "
        f"memory of {PAGE} bytes"
    )


@pytest.mark.parametrize("room", [0, 3, 8, 1_000])
def test_bytes_come_into_the_room_there_is(worker: Worker, guest: Mapped, room: int) -> None:
    """What fits is written and paid for, nothing behind it is touched, and the guest gets the length of the whole."""
    whole = b"\x01\x02\x03\x04\x05\x06\x07\x08"
    spent = []
    for data in (b"", whole):
        (ticket,) = worker.start(worker.assign(guest, "read_at", room))
        asked = worker.question(ticket)
        assert asked.args == (7, room)
        worker.answer(asked, len(data), data=data[:room])
        ended = end_of(worker, ticket)
        assert ended.values == (len(data), int.from_bytes(data[:room], "little"))
        spent.append(ended.fuel_used)
    assert spent[1] - spent[0] == len(whole[:room])


def test_more_than_a_call_may_carry_ends_the_job(open_worker: Callable[..., Worker]) -> None:
    """All its arguments together; one byte less is let through."""
    worker = open_worker(host_bytes=100)
    guest = guest_of(worker)
    ended = worker.run(guest, "tell", 0, 100, 0, 0, 1)
    assert (ended.status, ended.trap) == ("trapped", "host")
    assert ended.error == "trapped: host function env.tell: 101 bytes are above the limit of 100 (host.max_bytes)"
    (ticket,) = worker.start(worker.assign(guest, "tell", 0, 99, 0, 0, 1))
    worker.answer(worker.question(ticket))
    assert end_of(worker, ticket).status == "succeeded"


def test_without_a_memory_only_numbers_can_cross(worker: Worker) -> None:
    """A guest that exports none is told so when it passes bytes; a function that takes none does not mind."""
    guest = guest_of(worker, BARE)
    ended = worker.run(guest, "read")
    assert ended.error == (
        "trapped: host function env.read needs the guest's memory, and the guest exports none as 'memory'"
    )
    (ticket,) = worker.start(worker.assign(guest, "tick"))
    worker.answer(worker.question(ticket))
    assert end_of(worker, ticket).status == "succeeded"


def test_an_error_ends_that_job_alone(worker: Worker, guest: Mapped) -> None:
    """With the line that came; the neighbour that asks at the same time has its answer."""
    tickets = worker.start(worker.assign(guest, "tick"), worker.assign(guest, "tick"))
    first, second = (worker.question(ticket) for ticket in tickets)
    worker.answer(first, error="host function env.tick raised KeyError: 'x'")
    ended = end_of(worker, tickets[0])
    assert (ended.status, ended.trap) == ("trapped", "host")
    assert ended.error == "trapped: host function env.tick raised KeyError: 'x'"
    worker.answer(second)
    assert end_of(worker, tickets[1]).status == "succeeded"


def test_the_price_is_exact_on_every_worker(workers_of_all_kinds: list[Worker]) -> None:
    """Each call costs its price, the same on both engines and at every quantum, with caps to the unit."""
    spent = set()
    for worker in workers_of_all_kinds:
        guest = guest_of(worker)
        base = None
        for calls in (1, 2, 7):
            (ticket,) = worker.start(worker.assign(guest, "ticks", calls))
            for _ in range(calls):
                worker.answer(worker.question(ticket))
            fuel = end_of(worker, ticket).fuel_used
            base = base or fuel
            spent.add((calls, fuel))
        assert base is not None
        assert base > PRICE
    assert len(spent) == 3
    (one, two, seven) = (fuel for _, fuel in sorted(spent))
    assert seven - one == 6 * (two - one)
    assert two - one > PRICE


def test_a_call_that_cannot_be_paid_never_goes_out(workers_of_all_kinds: list[Worker]) -> None:
    """The job is out of fuel, all of it is spent, and nobody was asked."""
    for worker in workers_of_all_kinds:
        ended = worker.run(guest_of(worker), "tick", fuel=PRICE)
        assert (ended.status, ended.fuel_used) == ("out_of_fuel", PRICE)
        assert worker.asked == {}


def test_bytes_that_cannot_be_paid_are_not_written(worker: Worker, guest: Mapped) -> None:
    """An answer of more bytes than the guest has fuel left ends it."""
    (ticket,) = worker.start(worker.assign(guest, "read", 0, 0, 1_000, fuel=PRICE + 500))
    worker.answer(worker.question(ticket), 1_000, data=bytes(1_000))
    ended = end_of(worker, ticket)
    assert (ended.status, ended.fuel_used) == ("out_of_fuel", PRICE + 500)


def test_the_calls_of_a_job_are_counted(workers_of_all_kinds: list[Worker]) -> None:
    """One more than it may make ends it, whichever functions it called; what it had spent is on the bill."""
    spent = set()
    for worker in workers_of_all_kinds:
        (ticket,) = worker.start(worker.assign(guest_of(worker), "ticks", 10, host_calls=3))
        for call in (1, 2, 3):
            asked = worker.question(ticket)
            assert asked.call == call
            worker.answer(asked)
        ended = end_of(worker, ticket)
        assert (ended.status, ended.trap) == ("trapped", "host_calls")
        assert ended.error == "trapped: host function env.tick: all 3 host calls are spent (limits.host_calls)"
        spent.add(ended.fuel_used)
    assert len(spent) == 1


def test_a_function_can_have_a_count_of_its_own(worker: Worker, guest: Mapped) -> None:
    """Calls of others do not count against it."""
    (ticket,) = worker.start(worker.assign(guest, "rare"))
    for function in (RARE, TICK, RARE):
        asked = worker.question(ticket)
        assert asked.function == function.function
        worker.answer(asked)
    ended = end_of(worker, ticket)
    assert (ended.status, ended.trap) == ("trapped", "host_calls")
    assert ended.error == "trapped: host function env.rare: all 2 calls of this function are spent (its max_calls)"


def test_start_functions_and_initialisers_may_ask(worker: Worker) -> None:
    """Each is parked where it stands, and the job's own call sees what they did."""
    (ticket,) = worker.start(worker.assign(reactor(worker), "count"))
    for call in (1, 2):
        asked = worker.question(ticket)
        assert asked.call == call
        worker.answer(asked)
    assert end_of(worker, ticket).values == (2,)


def reactor(worker: Worker) -> Mapped:
    """Map the guest with a start function as the reactor that it is."""
    key = (id(worker), STARTS)
    if key not in _mapped:
        _mapped[key] = worker.map_new(STARTS, host=[TICK], initialise=True)
    return _mapped[key]


def test_a_parked_guest_takes_no_turn(worker: Worker, guest: Mapped) -> None:
    """Others run to their end beside it, and it goes on when its answer has come."""
    parked = worker.start(*[worker.assign(guest, "tick") for _ in range(20)])
    questions = [worker.question(ticket) for ticket in parked]
    for number in range(20):
        assert worker.run(guest, "mul", number, 2).values == (2 * number,)
    assert not any(ticket in worker.ended for ticket in parked)
    for asked in questions:
        worker.answer(asked)
    assert {ended.status for ended in worker.outcomes(parked)} == {"succeeded"}


@pytest.mark.parametrize("way", ["cancel", "timeout"])
def test_a_call_that_is_out_does_not_keep_its_job(worker: Worker, guest: Mapped, way: str) -> None:
    """Cancelling and the timeout end it at once; the answer that comes too late harms nobody."""
    (ticket,) = worker.start(worker.assign(guest, "tick", timeout=1.0 if way == "timeout" else 60.0))
    asked = worker.question(ticket)
    ended = worker.cancel([ticket])[0] if way == "cancel" else end_of(worker, ticket)
    assert ended.status == ("cancelled" if way == "cancel" else "timed_out")
    assert ended.fuel_used > PRICE
    worker.answer(asked)
    assert worker.run(guest, "mul", 2, 4).values == (8,)


def test_what_is_on_the_way_is_bounded(open_worker: Callable[..., Worker]) -> None:
    """Calls beyond `ASK_WINDOW` bytes wait in the worker, numbers too, and go as answers and ends make room."""
    source = GUEST.replace(b'(memory (export "memory") 1)', b'(memory (export "memory") 70)')
    worker = open_worker(host_bytes=ASK_WINDOW)
    guest = guest_of(worker, source)
    size = 4 * 2**20
    tickets = worker.start(*[worker.assign(guest, "tell", 0, size, 0, 0, 0) for _ in range(7)])
    first = [worker.question(ticket) for ticket in tickets[:4]]
    assert {len(asked.args[0]) for asked in first} == {size}  # type: ignore[arg-type]
    # Whatever runs now was asked for after the fifth call: had it been sent, it would have come before.
    assert worker.run(guest, "mul", 2, 4).values == (8,)
    assert worker.asked == {}
    worker.answer(first[0])
    worker.question(tickets[4])
    worker.cancel([tickets[1]])
    worker.question(tickets[5])
    assert worker.run(guest, "mul", 2, 4).values == (8,)
    assert worker.asked == {}
    worker.cancel(worker.live)
    (ticket,) = worker.start(worker.assign(guest, "tell", 0, size, 0, 0, 0))
    worker.answer(worker.question(ticket))
    assert end_of(worker, ticket).status == "succeeded"


def test_the_memory_is_read_when_the_call_goes_and_stays_meanwhile(worker: Worker, guest: Mapped) -> None:
    """Many that ask at once each have their own bytes out and their own answers in."""
    tickets = worker.start(*[worker.assign(guest, "tell", 0, number, 0, 0, 0) for number in range(12)])
    for number, ticket in enumerate(tickets):
        asked = worker.question(ticket)
        assert asked.args[0] == b"hello w\xc3\xb6rld"[:number]
        worker.answer(asked)
    assert {ended.status for ended in worker.outcomes(tickets)} == {"succeeded"}


@pytest.mark.parametrize("call", [0, 2])
def test_an_answer_to_what_was_not_asked_is_the_schedulers_mistake(
    open_worker: Callable[..., Worker], call: int
) -> None:
    """The worker does not go on with a conversation that it does not understand."""
    worker = open_worker()
    (ticket,) = worker.start(worker.assign(guest_of(worker), "tick"))
    asked = worker.question(ticket)
    worker.send(Answers([Answer(asked.ticket, call)]))
    assert worker.exit_status() != 0
    assert f"an answer came for call {call} of ticket {ticket}, which is not out" in worker.last_words()
