"""Receipts: what is hashed, that anybody can hash it again, and what makes two of them equal."""

from __future__ import annotations

import hashlib
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmq  # noqa: TC001 - read from an annotation
from wasmq.job import Call, Caps, Job, Outcome, Program, Reference, Trap
from wasmq.receipts import Receipt, call_digest, inputs_digest, receipt_of, result_digest
from wasmq.recording import RecordedCall, RecordedFunction, Recording

CAPS = Caps(10_000, 65_536, 2, 40, 50, 60)
OUTCOME = Outcome(
    status="succeeded",
    values=(8, 0.5, bytes(range(16)), None, Reference("funcref")),
    fuel_used=4,
    stdout=b"out",
    stderr=b"err",
    files={"b": b"2", "a": b"1"},
    exit_code=0,
    engine="native",
    engine_version="wasmtime 1 r1",
)
PROGRAM = Program(
    argv=("-n",),
    env={"B": "1", "A": "2"},
    stdin=b"in",
    files={"in.txt": b"x"},
    collect=("out.txt",),
    dirs={"d": "ro"},
    deterministic=True,
)


def job(**changes):
    call = Call("f" * 64, "run", (-1, 2.0, bytes(16)), PROGRAM, (("env", "e" * 64),))
    facts = {"id": "a", "call": call, "caps": CAPS, "tenant": "acme", "priority": 0, "key": None, "submitted_at": 1.0}
    facts |= {"due": 1.0, "order": 0.0, "cost": 1.0, "varies": None}
    return Job(**(facts | changes))


def packed(*parts):
    """Pack what a receipt hashes, written from docs/receipts.md and not with the library that makes receipts."""
    return hashlib.sha256(pack(list(parts))).hexdigest()


def pack(value):
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int() if -32 <= value < 0:
            return struct.pack(">b", value)
        case int() if 0 <= value < 128:
            return struct.pack(">B", value)
        case int() if 0 <= value < 2**16:
            return (b"\xcc" + struct.pack(">B", value)) if value < 256 else b"\xcd" + struct.pack(">H", value)
        case int() if 0 <= value < 2**32:
            return b"\xce" + struct.pack(">I", value)
        case float():
            return b"\xcb" + struct.pack(">d", value)
        case str():
            text = value.encode()
            return (
                struct.pack(">B", 0xA0 | len(text)) if len(text) < 32 else struct.pack(">BB", 0xD9, len(text))
            ) + text
        case bytes():
            return struct.pack(">BB", 0xC4, len(value)) + value
        case list():
            return struct.pack(">B", 0x90 | len(value)) + b"".join([pack(each) for each in value])
    raise AssertionError(value)


def test_somebody_else_can_compute_every_digest():
    """Each digest is that of the array that the documentation lists, packed here byte by byte."""
    subject = job()
    receipt = receipt_of(subject, OUTCOME)
    program = ["program", ["-n"], [["B", "1"], ["A", "2"]], b"in", [["in.txt", b"x"]], [["d", "ro"]], ["out.txt"], True]
    inputs = packed("wasmq inputs 1", [-1, 2.0, bytes(16)], program)
    assert receipt.inputs == inputs == inputs_digest(subject.call)
    call = packed("wasmq call 1", "f" * 64, [["env", "e" * 64]], "run", inputs)
    assert receipt.call == call == call_digest(subject.call)
    values = [8, 0.5, bytes(range(16)), None, ["funcref"]]
    files = [["a", b"1"], ["b", b"2"]]
    result = packed("wasmq result 1", "succeeded", values, None, None, 0, b"out", False, b"err", False, files)
    assert receipt.result == result == result_digest(OUTCOME)
    limits = [10_000, 65_536, 2.0, 40, 50, 60]
    facts = [call, limits, "succeeded", result, 4, 4, "native", "wasmtime 1 r1", [1_000, 1], True]
    assert receipt.digest == packed("wasmq receipt 1", *facts)
    assert (receipt.fuel, receipt.charged, receipt.deterministic, receipt.obstacle) == (4, 4, True, None)


def test_somebody_else_can_compute_the_digest_of_a_recording():
    """And that of the receipt with it, which is another one than without."""
    function = RecordedFunction("env", "f", ("i64", "str"), ("bytes",), 10, 5)
    call = RecordedCall("env.f", (1, b"a", 8), (2,), b"xy")
    failed = RecordedCall("env.f", (-1, b"", 8), error="no")
    outcome = msgspec.structs.replace(OUTCOME, recording=Recording((function,), 100, (call, failed)).pack())
    calls = [["env.f", [1, b"a", 8], [2], b"xy", None], ["env.f", [-1, b"", 8], [], None, "no"]]
    digest = packed("wasmq recording 1", [[["env", "f", ["i64", "str"], ["bytes"], 10, 5]], 100, calls])
    receipt = receipt_of(job(), outcome)
    assert receipt.recording == digest
    facts = [receipt.call, [10_000, 65_536, 2.0, 40, 50, 60], "succeeded", receipt.result, 4, 4]
    facts += ["native", "wasmtime 1 r1", [1_000, 1], True, digest]
    assert receipt.digest == packed("wasmq receipt 1", *facts) != receipt_of(job(), OUTCOME).digest


@pytest.mark.parametrize(
    "changes",
    [
        {"values": (9, 0.5)},
        {"values": (8.0, *OUTCOME.values[1:])},
        {"stdout": b"outerr", "stderr": b""},
        {"stdout_truncated": True},
        {"files": {"a": b"1"}},
        {"exit_code": 1},
        {"trap": Trap(code="unreachable")},
        {"status": "exited"},
    ],
)
def test_another_result_has_another_digest(changes):
    """A whole float is not the integer, and output is not the same on the other stream."""
    other = msgspec.structs.replace(OUTCOME, **changes)
    assert result_digest(other) != result_digest(OUTCOME)
    assert receipt_of(job(), other).digest != receipt_of(job(), OUTCOME).digest


@pytest.mark.parametrize(
    "changes",
    [
        {"fuel_used": 5},
        {"fuel_used": 0, "fuel_saved": 4, "reused": "b"},
        {"engine": "interpreter"},
        {"engine_version": "wasmtime 2 r1"},
        {"prices": (1_000, 2)},
    ],
)
def test_another_bill_has_another_digest(changes):
    """The same result at another price, or by another engine, is another receipt."""
    other = receipt_of(job(), msgspec.structs.replace(OUTCOME, **changes))
    assert other.result == receipt_of(job(), OUTCOME).result
    assert other.digest != receipt_of(job(), OUTCOME).digest


@pytest.mark.parametrize(
    "changes",
    [
        {"queued": 1.0, "ran": 2.0, "attempts": 3, "worker": "7", "memory_peak": 65_536},
        {"error": "other words"},
        {"trap": None},
    ],
)
def test_what_differs_between_equal_runs_is_not_in_it(changes):
    """Times, the worker, attempts and words are a run's own."""
    assert receipt_of(job(id="b"), msgspec.structs.replace(OUTCOME, **changes)) == receipt_of(job(), OUTCOME)


@pytest.mark.parametrize(
    ("call", "caps"),
    [
        (Call("e" * 64, "run", (1,)), CAPS),
        (Call("f" * 64, "other", (1,)), CAPS),
        (Call("f" * 64, "run", (1.0,)), CAPS),
        (Call("f" * 64, "run", (1,), Program(stdin=b"x")), CAPS),
        (Call("f" * 64, "run", (1,), Program(deterministic=True)), CAPS),
        (Call("f" * 64, "run", (1,), None, (("env", "e" * 64),)), CAPS),
        (Call("f" * 64, "run", (1,)), Caps(10_001, 65_536, 2, 40, 50, 60)),
    ],
)
def test_another_call_has_another_receipt(call, caps):
    """Module, export, arguments with their types, program, links and limits count."""
    plain = receipt_of(job(call=Call("f" * 64, "run", (1,))), OUTCOME)
    assert receipt_of(job(call=call, caps=caps), OUTCOME).digest != plain.digest


def test_the_order_that_a_guest_can_see_counts():
    """Variables in another order are another input."""
    swapped = msgspec.structs.replace(PROGRAM, env={"A": "2", "B": "1"})
    assert swapped == PROGRAM
    assert inputs_digest(Call("f" * 64, "run", (), swapped)) != inputs_digest(Call("f" * 64, "run", (), PROGRAM))


def test_nan_keeps_its_bits():
    """Two NaNs are equal when their bits are, and not otherwise."""
    quiet, other = (struct.unpack("<d", bits.to_bytes(8, "little"))[0] for bits in (0x7FF8 << 48, (0x7FF8 << 48) + 1))
    digests = [result_digest(Outcome(status="succeeded", values=(value,))) for value in (quiet, quiet, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("varies", "status", "why"),
    [
        ("wasi", "succeeded", "time and chance"),
        ("host", "succeeded", "host functions"),
        ("unknown", "succeeded", "nobody noted"),
        (None, "timed_out", "by the clock"),
        (None, "cancelled", "cancelled"),
        (None, "lost", "lost"),
    ],
)
def test_what_may_differ_says_why(varies, status, why):
    """A receipt that promises nothing names the reason."""
    receipt = receipt_of(job(varies=varies), Outcome(status=status))
    assert not receipt.deterministic
    assert why in receipt.obstacle


@given(st.floats(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=20))
def test_a_receipt_survives_json(number, integer, data):
    """What a daemon sends is what a client reads, digest by digest."""
    outcome = Outcome(status="succeeded", values=(number, integer), stdout=data, fuel_used=abs(integer) // 2)
    receipt = receipt_of(job(), outcome)
    assert msgspec.json.decode(msgspec.json.encode(receipt), type=Receipt) == receipt


async def test_every_outcome_has_one(make_scheduler, guests):
    """Whether it ran, trapped, was cancelled before it started, or is asked for later."""
    async with make_scheduler() as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        first, second = [await scheduler.run(mul, "mul", 2, 4) for _ in range(2)]
        assert first.receipt == second.receipt
        assert (first.receipt.module, first.receipt.fuel, first.receipt.deterministic) == (mul.digest, 4, True)
        assert first.receipt.engine_version == first.engine_version != ""
        delayed = await scheduler.submit(mul, "mul", 2, 4, delay=600.0)
        await delayed.cancel()
        assert (await delayed).receipt.obstacle == "it was cancelled"
        assert (await scheduler.job(delayed.id)).outcome.receipt == (await delayed).receipt
        [latest, *_] = await scheduler.jobs()
        assert latest.outcome.receipt == (await delayed).receipt
        async for outcome in scheduler.map(mul, "mul", [(2, 4)]):
            assert outcome.receipt == first.receipt
    assert Outcome(status="lost").receipt is None


async def test_the_receipt_says_what_a_module_may_ask(make_scheduler, guests):
    """WASI only with `deterministic`, host functions never, links as their parts do."""
    async with make_scheduler() as scheduler:
        hello = await scheduler.load(guests / "wasi" / "hello.wasm")
        plain = await (await scheduler.submit(hello))
        fixed = [await (await scheduler.submit(hello, deterministic=True)) for _ in range(2)]
        assert "time and chance" in plain.receipt.obstacle
        assert fixed[0].receipt == fixed[1].receipt
        assert fixed[0].receipt.deterministic

        @scheduler.host_function("env", "f", tenants="*")
        async def f() -> wasmq.i32:
            return 1

        text = '(module (import "env" "f" (func $f (result i32))) (func (export "g") (result i32) (call $f)))'
        caller = await scheduler.load(text.encode())
        assert "host functions" in (await scheduler.run(caller, "g")).receipt.obstacle
        offering = await scheduler.load(b'(module (func (export "f") (result i32) (i32.const 3)))')
        linked = await scheduler.run(caller, "g", link={"env": offering})
        assert (linked.value, linked.receipt.deterministic) == (3, True)
        assert linked.receipt.links == {"env": offering.digest}


async def test_both_engines_give_the_same_result_and_fuel(make_scheduler, guests):
    """All but the engine's name, and so the digest over it."""
    receipts = []
    for engine in ("native", "interpreter"):
        async with make_scheduler(engine=engine) as scheduler:
            module = await scheduler.load(guests / "divide.wat")
            job = await scheduler.submit(module, "divide", 1, 0)
            receipts.append((await job).receipt)
    native, interpreter = receipts
    assert native.digest != interpreter.digest
    assert (native.call, native.result, native.fuel) == (interpreter.call, interpreter.result, interpreter.fuel)
    assert (native.engine, interpreter.engine) == ("native", "interpreter")
