"""One instance and its outcome: values, fuel, traps, start functions; the same on both engines."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .driver import GUESTS, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from .driver import Worker

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
I32 = st.integers(-(2**31), 2**31 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
F32 = st.floats(width=32)
F64 = st.floats()
V128 = st.binary(min_size=16, max_size=16)
PACKED = {"i32": "<i", "i64": "<q", "f32": "<f", "f64": "<d", "v128": "16s"}

CALLS: list[tuple[str, str, tuple[Any, ...]]] = [
    ("mul.wat", "mul", (2, 4)),
    ("mul.wat", "mul", (-(2**31), -1)),
    ("fib.wat", "fib", (0,)),
    ("fib.wat", "fib", (15,)),
    ("loop.wat", "burn", (50_000,)),
    ("divide.wat", "divide", (42, 5)),
    ("divide.wat", "divide", (42, 0)),
    ("grow.wat", "grow", (16,)),
    ("grow.wat", "grow", (1_000,)),
    ("grow.wat", "grow_until_refused", (16,)),
    ("start.wat", "get", ()),
    ("values.wat", "divmod", (42, 5)),
    ("values.wat", "all", (1, -2, 0.5, -0.0, bytes(range(16)))),
    ("life.wasm", "life", (64, 64, 4, 1)),
    *[
        ("traps.wat", export, ())
        for export in (
            "unreachable",
            "memory_out_of_bounds",
            "table_out_of_bounds",
            "indirect_call_to_null",
            "bad_signature",
            "integer_division_by_zero",
            "integer_overflow",
            "bad_conversion_to_integer",
        )
    ],
]
"""Calls whose whole outcome is the same everywhere. A stack overflow is not among them: how deep a stack is in calls
depends on the engine's frames."""


def ids(call: tuple[str, str, tuple[Any, ...]]) -> str:
    return f"{call[0]}-{call[1]}"


def same_bits(type_: str, one: object, other: object) -> bool:
    """Whether two values are the same bits; one NaN is as good as another."""
    if type_ in ("f32", "f64") and math.isnan(one):  # type: ignore[arg-type]
        return math.isnan(other)  # type: ignore[arg-type]
    return struct.pack(PACKED[type_], one) == struct.pack(PACKED[type_], other)


@SHARED
@given(
    case=st.one_of(
        st.tuples(st.just("i32"), I32),
        st.tuples(st.just("i64"), I64),
        st.tuples(st.just("f32"), F32),
        st.tuples(st.just("f64"), F64),
        st.tuples(st.just("v128"), V128),
    )
)
def test_a_value_comes_back_bit_for_bit(worker: Worker, case: tuple[str, Any]) -> None:
    """Any value of any core type passes through a guest unchanged; its Python type is the value type's."""
    type_, value = case
    ended = worker.run(GUESTS / "values.wat", type_, value)
    assert ended.status == "succeeded"
    (back,) = ended.values
    assert type(back) is type(value)
    assert same_bits(type_, value, back)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("i32", -(2**31)),
        ("i32", 2**31 - 1),
        ("i64", -(2**63)),
        ("i64", 2**63 - 1),
        ("f32", -0.0),
        ("f32", math.inf),
        ("f32", math.nan),
        ("f32", 2.0**-149),
        ("f64", -0.0),
        ("f64", -math.inf),
        ("f64", math.nan),
        ("f64", 5e-324),
        ("f64", 1.7976931348623157e308),
        ("v128", bytes(16)),
        ("v128", b"\xff" * 16),
    ],
)
def test_extreme_values_come_back(worker: Worker, type_: str, value: Any) -> None:
    """The ends of each type's range, both zeros, infinities, the smallest numbers and NaN pass unchanged."""
    assert same_bits(type_, value, worker.run(GUESTS / "values.wat", type_, value).values[0])


@SHARED
@given(values=st.tuples(I32, I64, F32, F64, V128))
def test_all_value_types_in_one_call(worker: Worker, values: tuple[Any, ...]) -> None:
    """Five parameters and five results of all types, each in its own place."""
    ended = worker.run(GUESTS / "values.wat", "all", *values)
    types = ("i32", "i64", "f32", "f64", "v128")
    assert len(ended.values) == 5
    assert all(map(same_bits, reversed(types), reversed(values), ended.values))


def test_many_parameters_and_results(worker: Worker) -> None:
    """Signatures longer than the buffers that are kept for the usual ones work too, again and again."""
    source = f"""(module (func (export "many") (param {"i64 " * 100}) (result {"i64 " * 100})
        {" ".join(f"(local.get {place})" for place in reversed(range(100)))}))"""
    for base in (0, 2**62, -(2**63)):
        values = tuple(base + place for place in range(100))
        assert worker.run(source, "many", *values).values == values[::-1]


@pytest.mark.parametrize(
    ("guest", "export", "args", "fuel"),
    [
        ("mul.wat", "mul", (2, 4), 4),
        ("fib.wat", "fib", (0,), 6),
        ("fib.wat", "fib", (20,), 218_906),
        ("loop.wat", "burn", (900_000,), 900_005),
        ("start.wat", "get", (), 1_209),
    ],
)
def test_fuel_is_exact(worker: Worker, guest: str, export: str, args: tuple[Any, ...], fuel: int) -> None:
    """A call costs what it costs, to the unit, on every engine."""
    ended = worker.run(GUESTS / guest, export, *args)
    assert (ended.status, ended.fuel_used) == ("succeeded", fuel)


@pytest.mark.parametrize("call", CALLS, ids=ids)
def test_the_outcome_is_the_same_however_it_is_sliced(
    workers_of_all_kinds: list[Worker], call: tuple[str, str, tuple[Any, ...]]
) -> None:
    """The whole outcome is the same natively and interpreted, in a thousand slices or in one."""
    guest, export, args = call
    outcomes = [
        msgspec.structs.replace(worker.run(GUESTS / guest, export, *args), ticket=0, ran=0.0)
        for worker in workers_of_all_kinds
    ]
    assert outcomes[0].status in ("succeeded", "trapped", "out_of_memory")
    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize("fuel", [1, 2, 999, 100_000, 100_001, 200_000, 1_234_567])
def test_out_of_fuel_reports_the_cap(worker: Worker, fuel: int) -> None:
    """A guest that does not end spends exactly its cap, be it below, at or above a quantum, and says so in one line."""
    ended = worker.run(GUESTS / "loop.wat", "spin", fuel=fuel)
    assert (ended.status, ended.fuel_used, ended.trap) == ("out_of_fuel", fuel, None)
    assert ended.error == f"out of fuel: spent all {fuel} units"


@pytest.mark.parametrize("short", [1, 2, 1_000, 218_000])
def test_fuel_never_goes_over_the_cap(worker: Worker, short: int) -> None:
    """A call with less than it needs may end in its last straight stretch, but reports no more than its cap."""
    cap = 218_906 - short
    ended = worker.run(GUESTS / "fib.wat", "fib", 20, fuel=cap)
    assert ended.fuel_used == cap
    assert ended.status == ("succeeded" if short <= 2 else "out_of_fuel")


def test_exactly_enough_fuel_is_enough(worker: Worker) -> None:
    """A cap of what a call costs lets it end."""
    ended = worker.run(GUESTS / "fib.wat", "fib", 20, fuel=218_906)
    assert (ended.status, ended.values, ended.fuel_used) == ("succeeded", (6765,), 218_906)


@pytest.mark.parametrize(
    ("export", "code"),
    [
        ("unreachable", "unreachable"),
        ("memory_out_of_bounds", "memory_out_of_bounds"),
        ("table_out_of_bounds", "table_out_of_bounds"),
        ("indirect_call_to_null", "indirect_call_to_null"),
        ("bad_signature", "indirect_call_type_mismatch"),
        ("integer_division_by_zero", "integer_divide_by_zero"),
        ("integer_overflow", "integer_overflow"),
        ("bad_conversion_to_integer", "invalid_conversion_to_integer"),
        ("stack_overflow", "stack_overflow"),
    ],
)
def test_every_trap_has_its_code_a_line_and_a_place(worker: Worker, export: str, code: str) -> None:
    """A trap is named by a stable code, told in one line, and its innermost frame is the function that trapped."""
    ended = worker.run(GUESTS / "traps.wat", export)
    assert (ended.status, ended.trap) == ("trapped", code)
    assert ended.error is not None
    assert ended.error.startswith("trapped: ")
    assert "\n" not in ended.error
    places = [signature[0] for signature in worker.map(GUESTS / "traps.wat").described.exports]
    assert ended.backtrace[0].function == places.index(export) + 1  # after the one that is not exported


def test_a_deep_recursion_is_a_trap_with_a_short_backtrace(worker: Worker) -> None:
    """The stack's end is a trap like another; of its thousands of frames the innermost are told, with their name."""
    ended = worker.run(GUESTS / "recursion.wat", "dive")
    assert (ended.status, ended.trap) == ("trapped", "stack_overflow")
    assert 1 < len(ended.backtrace) <= 32
    assert {(frame.function, frame.name) for frame in ended.backtrace} == {(0, "dive")}
    assert worker.run(GUESTS / "mul.wat", "mul", 6, 7).values == (42,)


def test_a_long_function_name_is_cut(worker: Worker) -> None:
    """A guest chooses its names, so no more than 200 bytes of one are kept, and they are text whatever they were."""
    name = "é" * 400
    ended = worker.run(f'(module (func $"{name}" (export "f") (unreachable)))', "f")
    assert ended.backtrace[0].name == "é" * 100


def test_an_uncaught_exception_is_a_trap(worker: Worker) -> None:
    """An exception that leaves the guest ends it with a code of its own and one line, also from a start function."""
    throw = '(module (tag $t (param i32)) (func $f (export "f") (throw $t (i32.const 1)))'
    for source in (throw + ")", throw + "(start $f))"):
        ended = worker.run(source, "f")
        assert (ended.status, ended.trap) == ("trapped", "uncaught_exception")
        assert ended.error == "trapped: thrown Wasm exception"


def test_a_data_segment_that_does_not_fit_is_a_trap(worker: Worker) -> None:
    """Instantiation itself can trap; the code is the trap's and the export never runs."""
    ended = worker.run('(module (memory 1) (data (i32.const 65536) "x") (func (export "f")))', "f")
    assert (ended.status, ended.trap) == ("trapped", "memory_out_of_bounds")


def test_an_element_segment_that_does_not_fit_is_a_trap(worker: Worker) -> None:
    """The same for a table."""
    ended = worker.run('(module (table 1 funcref) (elem (i32.const 1) $f) (func $f (export "f")))', "f")
    assert (ended.status, ended.trap) == ("trapped", "table_out_of_bounds")


def test_no_job_sees_another_ones_globals(worker: Worker) -> None:
    """`get` counts a global up after reading it, and every job reads what the start function left."""
    module = worker.map(GUESTS / "start.wat")
    tickets = worker.start(*[worker.assign(module, "get") for _ in range(100)])
    assert {ended.values for ended in worker.outcomes(tickets)} == {(5050,)}


ENDLESS_START = '(module (func $s (loop $again (br $again))) (start $s) (func (export "f")))'


def test_an_endless_start_function_runs_out_of_fuel(worker: Worker) -> None:
    """A start function is metered: its fuel is the job's."""
    ended = worker.run(ENDLESS_START, "f", fuel=1_000_000)
    assert (ended.status, ended.fuel_used) == ("out_of_fuel", 1_000_000)


def test_an_endless_start_function_times_out_and_stops_nobody(worker: Worker) -> None:
    """A start function is sliced: others have turns beside it, and its time ends it."""
    module = worker.map(ENDLESS_START)
    (ticket,) = worker.start(worker.assign(module, "f", fuel=10**15, timeout=0.2))
    worker.until_underway([ticket])
    assert worker.run(GUESTS / "mul.wat", "mul", 2, 4).values == (8,)
    assert ticket in worker.live
    (ended,) = worker.outcomes([ticket])
    assert ended.status == "timed_out"
    assert ended.fuel_used > 0


def test_an_endless_start_function_can_be_cancelled(worker: Worker) -> None:
    """A job is cancelled in its start function as in its call."""
    (ticket,) = worker.start(worker.assign(worker.map(ENDLESS_START), "f", fuel=10**15))
    worker.until_underway([ticket])
    assert worker.cancel([ticket])[0].status == "cancelled"


def test_a_start_function_that_traps(worker: Worker) -> None:
    """A trap in the start function is the job's outcome, with its backtrace."""
    ended = worker.run('(module (func $boom (unreachable)) (start $boom) (func (export "f")))', "f")
    assert (ended.status, ended.trap) == ("trapped", "unreachable")
    assert [frame.name for frame in ended.backtrace] == ["boom"]


def test_a_start_function_that_overflows_the_stack(worker: Worker) -> None:
    """Instantiation runs on the instance's own stack too."""
    ended = worker.run('(module (func $d (call $d) (nop)) (start $d) (func (export "f")))', "f")
    assert (ended.status, ended.trap) == ("trapped", "stack_overflow")


def test_fuel_of_start_function_and_call_add_up(worker: Worker) -> None:
    """What the start function spent is in the bill, on top of what the call spent; starting it costs 2."""
    body = (
        "(loop $again (br_if $again (i32.lt_s (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))"
    )
    with_start = f'(module (func $s (local $i i32) {body}) (start $s) (func (export "f") (local $i i32) {body}))'
    without = f'(module (func (export "f") (local $i i32) {body}))'
    assert worker.run(with_start, "f").fuel_used == 2 * worker.run(without, "f").fuel_used + 2


def test_instances_with_references_live_beside_each_other(worker: Worker) -> None:
    """Modules that touch references of every kind run many at once: none of them needs what there is only one of."""
    spin = "(loop $again (br $again))"
    sources = [
        f'(module (func (export "f") (drop (i31.get_s (ref.i31 (i32.const 3)))) {spin}))',
        f'(module (type $s (struct (field i32))) (func (export "f") (drop (struct.new $s (i32.const 1))) {spin}))',
        f'(module (type $a (array i8)) (func (export "f") (drop (array.new_default $a (i32.const 9))) {spin}))',
        f'(module (table 3 externref) (func (export "f") (table.set (i32.const 0) (ref.null extern)) {spin}))',
        f'(module (func (export "f") (local anyref externref) {spin}) (func (export "g") (param externref)))',
        f"""(module (tag $t) (func (export "f")
            (block $caught (try_table (catch_all $caught) (throw $t))) {spin}))""",
    ]
    tickets = worker.start(*[worker.assign(worker.map(source), "f") for source in sources for _ in range(3)])
    worker.until_underway(tickets)
    assert {ended.status for ended in worker.cancel(tickets)} == {"cancelled"}


def test_a_collected_heap_counts_as_memory(worker: Worker) -> None:
    """Objects that a guest keeps count against its cap; garbage does not."""
    source = """(module (type $node (struct (field (ref null $node)) (field i64)))
        (func (export "keep") (local $head (ref null $node))
            (loop $again (local.set $head (struct.new $node (local.get $head) (i64.const 1))) (br $again)))
        (func (export "drop") (loop $again (drop (struct.new $node (ref.null $node) (i64.const 1))) (br $again))))"""
    kept = worker.run(source, "keep", memory=4 * MIB)
    assert kept.status == "out_of_memory"
    assert MIB < kept.memory_peak <= 4 * MIB
    assert kept.error is not None
    assert kept.error.startswith("out of memory: ")
    dropped = worker.run(source, "drop", fuel=5_000_000, memory=4 * MIB)
    assert dropped.status == "out_of_fuel"
    assert dropped.memory_peak <= 4 * MIB


def test_an_error_is_one_line_without_addresses(worker: Worker) -> None:
    """Whatever ends a job, its error is one short line in words."""
    runs: list[Callable[[], Any]] = [
        lambda: worker.run(GUESTS / "traps.wat", "unreachable"),
        lambda: worker.run(GUESTS / "grow.wat", "grow_until_refused", 16),
        lambda: worker.run(GUESTS / "loop.wat", "spin", fuel=10),
        lambda: worker.run(GUESTS / "loop.wat", "spin", fuel=10**12, timeout=0.01),
        lambda: worker.run('(module (table 200000 funcref) (func (export "f")))', "f"),
        lambda: worker.run(
            """(module (type $a (array i8)) (func (export "f")
                (drop (array.new_default $a (i32.const 2000000000)))))""",
            "f",
        ),
    ]
    for run in runs:
        error = run().error
        assert "\n" not in error
        assert "0x" not in error
        assert len(error) < 200
