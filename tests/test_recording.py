"""Host calls that are recorded: kept in order and within bounds, and answered again from what was kept."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import struct

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from watching import running, until_running, worker_of

import wasmq
from wasmq.config import HostConfig, LimitsConfig, PricesConfig, Size
from wasmq.host import HostFunctions
from wasmq.job import Call, Caps, Job
from wasmq.receipts import recording_digest
from wasmq.recording import NOTHING, RecordedCall, RecordedHost, Recording, Tapes, recorded_functions
from wasmq.replay import compared
from wasmq.server import build_app
from wasmq_worker.protocol import Answer, Asked

ENGINES = ("native", "interpreter")
ROOM = 64
NAN = struct.unpack("<d", (0x7FF8_0000_0000_0123).to_bytes(8, "little"))[0]
IMPORTS = f"""
  (import "env" "number" (func $number (param i64) (result i64)))
  (import "env" "real" (func $real (param f64) (result f64)))
  (import "env" "text" (func $text (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "what is asked")
  (global $sum (mut i64) (i64.const 0))
  (func $add (param $more i64)
    (global.set $sum (i64.add (i64.mul (global.get $sum) (i64.const 31)) (local.get $more))))
  (func $said (param $length i32) (result i64)
    (call $text (i32.const 0) (local.get $length) (i32.const 1024) (i32.const {ROOM}))
    (i64.add (i64.extend_i32_u) (i64.load (i32.const 1024))))"""
CALLS = {
    "number": "(call $add (call $number (i64.const {})))",
    "real": "(call $add (i64.reinterpret_f64 (call $real (f64.reinterpret_i64 (i64.const {})))))",
    "text": "(call $add (call $said (i32.const {})))",
}


def guest(calls):
    """A module whose export makes the calls in their order, and returns what all answers come to."""
    lines = "\n".join(CALLS[name].format(argument) for name, argument in calls)
    return f'(module {IMPORTS} (func (export "run") (result i64) {lines} (global.get $sum)))'.encode()


def offer(scheduler, chance, seen, *, fails_at=0, way="coroutine", price=None):
    """Offer functions that answer otherwise each time; the `fails_at`th call raises."""

    def note(name):
        seen.append(name)
        if len(seen) == fails_at:
            raise ValueError("no more")

    def number(_):
        note("number")
        return chance.getrandbits(63)

    def real(_):
        note("real")
        return chance.choice([NAN, -0.0, float("inf"), chance.random()])

    def text(given):
        note("text")
        return given + chance.randbytes(chance.randrange(2 * ROOM))

    def asynchronous(function):
        async def call(given):
            return function(given)

        return call

    for function, kind in ((number, "i64"), (real, "f64"), (text, "bytes")):
        made = asynchronous(function) if way == "coroutine" else function
        scheduler.host_function(
            "env", function.__name__, tenants="*", inline=way == "inline", price=price, params=(kind,), results=(kind,)
        )(made)


@pytest.fixture
def with_limits(config):
    """The tests' configuration with other sections."""

    def make(**sections):
        return msgspec.structs.replace(config, **sections)

    return make


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("engine", ENGINES)
async def test_any_calls_replay_to_the_unit(make_scheduler, engine, seed):
    """Whatever is asked and answered, in whichever way the function runs, an error at some call included.

    Again by the same scheduler, and on the other engine: the same status, result and fuel, and no function is called.
    """
    chance = random.Random(seed)
    asked = [
        (name, chance.randrange(14) if name == "text" else chance.getrandbits(63))
        for name in chance.choices(list(CALLS), k=chance.randrange(1, 25))
    ]
    fails_at = chance.choice([0, 0, len(asked)])
    async with running(make_scheduler, engine=engine) as scheduler:
        seen: list[str] = []
        way = ("coroutine", "thread", "inline")[seed % 3]
        offer(scheduler, chance, seen, fails_at=fails_at, way=way, price=seed * 1_000)
        module = await scheduler.load(guest(asked))
        job = await scheduler.submit(module, "run", record=True)
        then = await job
        assert then.status == ("trapped" if fails_at else "succeeded")
        assert (then.receipt.deterministic, then.receipt.obstacle) == (True, None)
        recording = await scheduler.recording(job.id)
        assert [call.function.removeprefix("env.") for call in recording.calls] == [name for name, _ in asked] == seen
        for engine_again in (None, *(each for each in ENGINES if each != engine)):
            found = await scheduler.replay(job.id, engine=engine_again)
            assert found.differences == ()
            assert found.now.recording == then.receipt.recording == recording_digest(recording.pack())
            assert found.now.fuel == then.fuel_used
        again = await scheduler.job(found.again or (await scheduler.replay(job.id)).again)
        # A replay is a job with a recording of its own.
        assert (await scheduler.replay(again.id)).agrees
        assert seen == [name for name, _ in asked]


async def test_without_record_nothing_is_kept(make_scheduler):
    """And the receipt says what would have kept it; the tenant's own choice holds where a job does not say."""
    async with running(make_scheduler, tenants={"acme": wasmq.Tenant(record=True)}) as scheduler:
        offer(scheduler, random.Random(1), [])
        module = await scheduler.load(guest([("number", 1)]))
        for tenant, record, kept in (
            ("default", None, False),
            ("default", True, True),
            ("acme", None, True),
            ("acme", False, False),
        ):
            job = await scheduler.submit(module, "run", tenant=tenant, record=record)
            outcome = await job
            assert outcome.receipt.deterministic is kept is (outcome.receipt.recording is not None)
            if kept:
                continue
            with pytest.raises(wasmq.NotDeterministic, match='not submitted with "record"'):
                await scheduler.replay(job.id)
            with pytest.raises(wasmq.NotRecorded, match='not submitted with "record"'):
                await scheduler.recording(job.id)
        with pytest.raises(wasmq.InvalidLimit, match="record=True"):
            await scheduler.submit(module, "run", limits=wasmq.Limits(recording="1KiB"))
        with pytest.raises(wasmq.LimitTooHigh, match=r"limits\.max\.recording"):
            await scheduler.submit(module, "run", limits=wasmq.Limits(recording="1GiB"), record=True)
        with pytest.raises(wasmq.InvalidArguments, match="record"):
            await scheduler.submit(module, "run", record="yes")


async def test_a_call_without_host_functions_has_the_same_receipt_either_way(make_scheduler, guests):
    """There is nothing to record."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        plain, recorded = [await scheduler.run(mul, "mul", 2, 4, record=record) for record in (False, True)]
        assert plain.receipt == recorded.receipt


async def test_time_and_chance_are_not_recorded(make_scheduler, config):
    """A guest that asks WASI for them besides can be replayed only when it was submitted with `deterministic`."""
    text = guest([("number", 1)]).decode()
    clock = '(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))'
    text = text.replace("(module", f"(module {clock}", 1).replace(
        '(func (export "run") (result i64)',
        '(func (export "run") (result i64) (drop (call $random (i32.const 0) (i32.const 8)))',
    )
    async with running(make_scheduler) as scheduler:
        offer(scheduler, random.Random(1), [])
        module = await scheduler.load(text.encode())
        varying = await scheduler.submit(module, "run", record=True)
        assert "time and chance" in (await varying).receipt.obstacle
        fixed = await scheduler.submit(module, "run", record=True, deterministic=True)
        assert (await fixed).receipt.deterministic
        assert (await scheduler.replay(fixed.id)).agrees


@pytest.mark.parametrize(
    ("sections", "limits", "why"),
    [
        ({}, wasmq.Limits(recording=600), r"more than 600 B \(limits\.recording\)"),
        ({"limits": LimitsConfig(recording=Size(600))}, None, r"limits\.recording"),
        ({"host": HostConfig(recordings=Size(600))}, None, r"host\.recordings"),
    ],
)
async def test_a_recording_beyond_its_bound_is_dropped(make_scheduler, with_limits, sections, limits, why):
    """The job goes on as if it had not been asked for, and the receipt says why there is none."""
    async with running(make_scheduler, config=with_limits(**sections)) as scheduler:
        offer(scheduler, random.Random(3), [])
        module = await scheduler.load(guest([("text", 13)] * 40))
        short = await scheduler.submit(await scheduler.load(guest([("number", 1)])), "run", limits=limits, record=True)
        job = await scheduler.submit(module, "run", limits=limits, record=True)
        outcome = await job
        assert (outcome.status, outcome.receipt.recording) == ("succeeded", None)
        with pytest.raises(wasmq.NotDeterministic, match=why):
            await scheduler.replay(job.id)
        with pytest.raises(wasmq.NotRecorded, match=why):
            await scheduler.recording(job.id)
        await short
        assert (await scheduler.replay(short.id)).agrees
        assert scheduler._life.parts.calls._tapes.size == 0


def tampered(recording, place, **changes):
    """A recording with one call changed."""
    calls = list(recording.calls)
    calls[place] = msgspec.structs.replace(calls[place], **changes)
    return msgspec.structs.replace(recording, calls=tuple(calls))


async def test_a_tampered_recording_is_seen(make_scheduler):
    """Its digest is another one; and whatever the guest can notice ends the replay, or changes its result."""
    async with running(make_scheduler) as scheduler:
        offer(scheduler, random.Random(5), [])
        module = await scheduler.load(guest([("number", 1), ("real", 2), ("number", 3)]))
        job = await scheduler.submit(module, "run", record=True)
        then = await job
        record, good = await scheduler.job(job.id), await scheduler.recording(job.id)
        for bad, line in (
            (tampered(good, 0, args=(7,)), "call 1 was made with other arguments"),
            (tampered(good, 1, function="env.number"), "call 2 was one of env.number"),
            (msgspec.structs.replace(good, calls=good.calls[:2]), "call 3 was never made: 2 host calls are recorded"),
        ):
            now = await (await scheduler.repeat(record.job, bad.pack()))
            assert (now.status, now.trap.code) == ("trapped", "host")
            assert recording_digest(bad.pack()) != then.receipt.recording
            assert line in now.error
            found = compared(job.id, None, then, now)
            assert f"host calls: they were not those that were recorded; now {now.error}" in found.differences
        another = tampered(good, 2, values=(good.calls[2].values[0] ^ 1,))
        now = await (await scheduler.repeat(record.job, another.pack()))
        found = compared(job.id, None, then, now)
        assert {each.partition(":")[0] for each in found.differences} == {"host calls", "value"}
        longer = msgspec.structs.replace(good, calls=(*good.calls, good.calls[0]))
        now = await (await scheduler.repeat(record.job, longer.pack()))
        assert (now.status, now.value) == (then.status, then.value)


async def test_what_is_offered_otherwise_now_is_refused(make_scheduler, with_limits, tmp_path):
    """With the way out, before anything is queued: beside the daemon it runs for the price of then."""
    store = f"sqlite:///{tmp_path}/jobs.db"
    async with running(make_scheduler, store=store) as scheduler:
        offer(scheduler, random.Random(5), [], price=70)
        job = await scheduler.submit(await scheduler.load(guest([("number", 1)])), "run", record=True)
        then = await job
    async with running(make_scheduler, store=store, config=with_limits(prices=PricesConfig(host=80))) as scheduler:
        with pytest.raises(wasmq.NotDeterministic, match=r"env\.number is not offered any more; .*--engine"):
            await scheduler.replay(job.id)
        offer(scheduler, random.Random(6), [])
        with pytest.raises(wasmq.NotDeterministic, match="it cost 70 fuel, now 80"):
            await scheduler.replay(job.id)
        found = await scheduler.replay(job.id, engine="interpreter")
        assert (found.differences, found.now.fuel) == ((), then.fuel_used)


async def test_only_the_attempt_that_gave_the_outcome_is_kept(make_scheduler):
    """Calls of an attempt whose worker died are not in the recording."""
    async with running(make_scheduler) as scheduler:
        seen: list[wasmq.HostCall] = []

        @scheduler.host_function("env", "number", tenants="*")
        async def number(call: wasmq.HostCall, given: wasmq.i64) -> wasmq.i64:
            seen.append(call)
            if (call.attempt, call.number) == (1, 2):
                os.kill(worker_of(scheduler, call.job), signal.SIGKILL)
            return given + call.attempt

        offer_rest(scheduler)
        module = await scheduler.load(guest([("number", 10), ("number", 20), ("number", 30)]))
        job = await scheduler.submit(module, "run", record=True)
        outcome = await job
        assert (outcome.status, outcome.attempts) == ("succeeded", 2)
        recording = await scheduler.recording(job.id)
        assert [(call.args, call.values) for call in recording.calls] == [((n,), (n + 2,)) for n in (10, 20, 30)]
        assert (await scheduler.replay(job.id)).agrees


def offer_rest(scheduler):
    """Offer what the guest imports besides "number"."""
    scheduler.host_function("env", "real", tenants="*", params=("f64",), results=("f64",))(lambda given: given)
    scheduler.host_function("env", "text", tenants="*", params=("bytes",), results=("bytes",))(lambda given: given)


async def test_a_recording_comes_over_http(make_scheduler):
    """To the bit, for whoever may see the job; the replay goes through either surface."""
    tokens = {
        name: wasmq.Tenant(tokens=(f"sha256:{digest}",), roles=("submit", "observe"))
        for name, digest in (
            ("acme", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"),
            ("other", "4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2"),
        )
    }
    async with running(make_scheduler, tenants=tokens) as scheduler:
        offer(scheduler, random.Random(9), [])
        scheduler.config = msgspec.structs.replace(scheduler.config, tenants=tokens)
        transport = httpx.ASGITransport(app=build_app(scheduler))
        async with (
            wasmq.Client("http://localhost", token="secret", transport=transport) as client,
            wasmq.Client("http://localhost", token="root", transport=transport) as other,
        ):
            module = await client.load(guest([("real", 1), ("text", 13), ("number", 3)]))
            job = await client.submit(module, "run", record=True, limits=wasmq.Limits(recording="2KiB"))
            outcome = await job
            assert outcome.receipt.deterministic
            recording = await client.recording(job.id)
            assert recording.pack() == (await scheduler.recording(job.id)).pack()
            assert recording_digest(recording.pack()) == outcome.receipt.recording
            assert (await client.replay(job.id)).agrees
            plain = await client.submit(module, "run")
            await plain
            with pytest.raises(wasmq.NotRecorded, match="record"):
                await client.recording(plain.id)
            with pytest.raises(wasmq.UnknownJob):
                await other.recording(job.id)


async def test_each_way_to_submit_takes_it(make_scheduler):
    """`run`, `map` and `schedule` as well; a job that runs has no recording yet."""
    async with running(make_scheduler) as scheduler:
        offer(scheduler, random.Random(9), [])
        module = await scheduler.load(guest([("number", 1)]))
        assert (await scheduler.run(module, "run", record=True)).receipt.deterministic
        outcomes = [outcome async for outcome in scheduler.map(module, "run", [()] * 3, record=True)]
        assert all(outcome.receipt.deterministic for outcome in outcomes)
        await scheduler.schedule("daily", "0 0 1 1 *", module, "run", record=True)
        assert scheduler._periodic._schedules["daily"].request.record is True
        entered, go_on = asyncio.Event(), asyncio.Event()

        @scheduler.host_function("env", "wait", tenants="*")
        async def wait() -> None:
            entered.set()
            await go_on.wait()

        waiting = await scheduler.load(
            b'(module (import "env" "wait" (func $wait)) (func (export "run") (call $wait)))'
        )
        job = await scheduler.submit(waiting, "run", record=True)
        await until_running(scheduler, job.id)
        await entered.wait()
        with pytest.raises(wasmq.NotRecorded, match="not ended"):
            await scheduler.recording(job.id)
        go_on.set()
        await job
        assert (await scheduler.recording(job.id)).calls == (RecordedCall("env.wait", ()),)


def functions():
    """One offered function."""
    offered = HostFunctions(10)
    offered.offer("env", "f", params=("i64",), results=("i64",))(lambda given: given)
    return tuple(offered._by_number)


def recorded_job(most, recording=None):
    """A job with a bound for its recording."""
    caps = Caps(10, 20, 3.0, 40, recording=most)
    return Job("a", Call("f" * 64, "run"), caps, "acme", 0, None, 1.0, 1.0, 0.0, 1.0, recording=recording)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(-(2**63), 2**63 - 1)), max_size=60),
    st.integers(40, 400),
    st.integers(40, 800),
)
def test_tapes_keep_within_their_bounds(calls, most, room):
    """However the calls of several jobs come: what is kept is whole or not there, and all of it is counted."""
    (function,) = functions()
    tapes, job = Tapes(room, 100), recorded_job(most)
    made: dict[int, list[int]] = {}
    for ticket, number in calls:
        made.setdefault(ticket, []).append(number)
        asked = Asked(ticket, len(made[ticket]), 0, (number,))
        tapes.note(1, job, asked, function, Answer(ticket, asked.call, (number,)))
        assert tapes.size <= room
    for ticket, numbers in made.items():
        packed, why_not = tapes.take(1, ticket, job, [function])
        if packed is None:
            assert "not kept" in why_not
            continue
        recording = Recording.unpack(packed)
        assert recording.functions == recorded_functions([function])
        assert [call.args for call in recording.calls] == [(number,) for number in numbers]
        # Another run of it is answered the same.
        again, player = recorded_job(most, packed), Tapes(room, 100)
        for place, number in enumerate(numbers, 1):
            asked = Asked(9, place, 0, (number,))
            answer = player.answer(2, again, asked, function)
            assert (answer.values, answer.error) == ((number,), None)
            player.note(2, again, asked, function, answer)
        assert player.take(2, 9, again, [function]).packed == packed
    assert tapes.size == 0
    assert tapes.take(1, 1, recorded_job(0), [function]) == NOTHING


def test_an_unreadable_recording_answers_nothing():
    """One that was damaged since it was checked ends the job in one line."""
    (function,) = functions()
    answer = Tapes(100, 100).answer(1, recorded_job(0, b"\xc1"), Asked(1, 1, 0, (5,)), function)
    assert "cannot be read" in answer.error


def test_the_sign_of_zero_is_an_argument():
    """Arguments are compared by their bits."""
    (function,) = functions()
    recording = Recording(recorded_functions([function]), 100, (RecordedCall("env.f", (0.0,)),)).pack()
    answers = [
        Tapes(100, 100).answer(1, recorded_job(0, recording), Asked(1, 1, 0, (value,)), function).error
        for value in (0.0, -0.0, 0)
    ]
    assert [error is None for error in answers] == [True, False, False]


@pytest.mark.parametrize(
    ("offers", "max_bytes", "why"),
    [
        ([{}], 100, None),
        ([{}, {"name": "g"}], 100, None),
        ([], 100, "not offered any more"),
        ([{"price": 11}], 100, "it cost 10 fuel, now 11"),
        ([{"params": ("i32",)}], 100, "other types"),
        ([{"max_calls": 1}], 100, "max_calls"),
        ([{}], 101, r"100 bytes, now 101 \(host\.max_bytes\)"),
    ],
)
def test_a_run_by_the_daemon_wants_the_same_offers(offers, max_bytes, why):
    """What the guest cannot tell from them may have changed: others may be offered besides."""
    known = recorded_functions(functions())
    packed = Recording(known, 100, ()).pack()
    now = [msgspec.structs.replace(known[0], **changes) for changes in offers]
    problem = RecordedHost.unpack(packed).changed(now, max_bytes)
    assert problem is None if why is None else re.search(why, problem)
