"""Linear memories and tables: their caps, their peaks, and that no byte passes from one job to the next.

Every module is tried as both kinds of it: *pooled*, with memories from the engine's pool, and *counted*, with memories
that the worker makes itself. A module tells by what it can do which it is; that it is, is asserted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .driver import GUESTS, MIB

if TYPE_CHECKING:
    from .driver import Mapped, Worker

PAGE = 65_536
GROW = """(module (memory {limits})
    (func (export "grow") (param $pages i32) (result i32) (memory.grow (local.get $pages)))
    (func (export "grow_or_die") (param $pages i32)
        (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then (unreachable))))
    (func (export "grow_then_die") (param $pages i32) (drop (memory.grow (local.get $pages))) (unreachable)))"""
SEVERAL = """(module (memory $a 1) (memory $b 2) (memory $c 0 64)
    (func (export "grow") (param $a i32) (param $b i32) (param $c i32) (result i32 i32 i32)
        (memory.grow $a (local.get $a)) (memory.grow $b (local.get $b)) (memory.grow $c (local.get $c))))"""
# A module whose data is heavy is pooled although it grows.
HEAVY = f"""(module (memory (export "memory") 8) (data (i32.const 0) "{"x" * 300_000}")
    (func (export "grow") (param $pages i32) (result i32) (memory.grow (local.get $pages)))
    (func (export "change") (memory.fill (i32.const 0) (i32.const 121) (i32.const 300_000)))
    (func (export "count") (param $byte i32) (result i32) (local $at i32) (local $found i32)
        (loop $again
            (local.set $found (i32.add (local.get $found)
                (i32.eq (i32.load8_u (local.get $at)) (local.get $byte))))
            (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 524_288))))
        (local.get $found)))"""


def mapped(worker: Worker, source: str, *, counted: bool) -> Mapped:
    """Map a module and make sure that it is of the kind that the test is about."""
    module = worker.map(source)
    assert module.described.counted is counted
    return module


def test_a_minimum_above_the_cap(worker: Worker) -> None:
    """A module that starts with more than its job may have is out of memory; both sizes are told, nothing is spent."""
    ended = worker.run('(module (memory 100) (func (export "f")))', "f", memory=10 * PAGE)
    assert (ended.status, ended.fuel_used) == ("out_of_memory", 0)
    assert ended.error == (
        f"out of memory: the module starts with {100 * PAGE} bytes of memory, the cap is {10 * PAGE}"
    )


def test_a_minimum_at_the_cap(worker: Worker) -> None:
    """A cap of exactly what a module starts with lets it start, pooled and counted."""
    for source in ('(module (memory 10) (func (export "f")))', GROW.format(limits=10)):
        module = worker.map(source)
        ended = worker.run(module, next(iter(module.calls)), *[0] * module.described.counted, memory=10 * PAGE)
        assert (ended.status, ended.memory_peak) == ("succeeded", 10 * PAGE)


def test_a_sum_of_minimums_above_the_cap(worker: Worker) -> None:
    """Several memories whose minimum sizes fit one by one, but not together, do not start."""
    ended = worker.run('(module (memory 3) (memory 3) (func (export "f")))', "f", memory=5 * PAGE)
    assert ended.status == "out_of_memory"


@pytest.mark.parametrize(("pages", "answer"), [(0, 1), (1, 1), (15, 1), (16, -1), (65_535, -1), (-1, -1)])
def test_growth_ends_at_the_cap(worker: Worker, pages: int, answer: int) -> None:
    """`memory.grow` gives the size before up to exactly the cap, and -1 above it; the guest that copes succeeds."""
    module = mapped(worker, GROW.format(limits=1), counted=True)
    ended = worker.run(module, "grow", pages, memory=16 * PAGE)
    assert (ended.status, ended.values) == ("succeeded", (answer,))
    assert ended.memory_peak == PAGE * (1 if answer < 0 else 1 + pages)


def test_dying_of_a_refused_growth_is_out_of_memory(worker: Worker) -> None:
    """A guest that ends badly after a growth was refused is out of memory, and the error tells both."""
    ended = worker.run(mapped(worker, GROW.format(limits=1), counted=True), "grow_or_die", 16, memory=16 * PAGE)
    assert (ended.status, ended.trap) == ("out_of_memory", "unreachable")
    assert ended.error == (
        f"out of memory: a growth over the cap of {16 * PAGE} bytes was refused, then unreachable code executed"
    )


@pytest.mark.parametrize("pages", [0, 15])
def test_dying_of_something_else_is_a_trap(worker: Worker, pages: int) -> None:
    """A guest that could grow, or did, and then ends badly is trapped: no growth was refused."""
    ended = worker.run(GROW.format(limits=1), "grow_then_die", pages, memory=16 * PAGE)
    assert (ended.status, ended.trap, ended.memory_peak) == ("trapped", "unreachable", (1 + pages) * PAGE)


def test_a_growth_over_the_modules_own_maximum_is_no_matter_of_the_cap(worker: Worker) -> None:
    """A module that stops itself, with a maximum far below the cap, is trapped and not out of memory."""
    module = mapped(worker, GROW.format(limits="1 4"), counted=True)
    assert worker.run(module, "grow", 4).values == (-1,)
    assert worker.run(module, "grow_or_die", 4).status == "trapped"
    assert worker.run(module, "grow", 3).memory_peak == 4 * PAGE


def test_growing_until_refused(worker: Worker) -> None:
    """The memory hog ends at its cap, whatever the size of its steps, and the next job finds all of it free."""
    for pages, cap in ((1, 4 * MIB), (16, 4 * MIB), (7, 4 * MIB), (100, 128 * MIB)):
        ended = worker.run(GUESTS / "grow.wat", "grow_until_refused", pages, memory=cap)
        assert ended.status == "out_of_memory"
        assert cap - pages * PAGE < ended.memory_peak <= cap


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(grows=st.tuples(*[st.integers(0, 40)] * 3), cap=st.integers(3, 80))
def test_the_cap_is_on_the_sum_of_all_memories(worker: Worker, grows: tuple[int, int, int], cap: int) -> None:
    """With several memories each growth is granted while the sum stays within the cap; the peak is the sum."""
    sizes, answers = [1, 2, 0], []
    for place, pages in enumerate(grows):
        granted = sum(sizes) + pages <= cap
        answers.append(sizes[place] if granted else -1)
        sizes[place] += pages if granted else 0
    ended = worker.run(mapped(worker, SEVERAL, counted=True), "grow", *grows, memory=cap * PAGE)
    assert ended.values == tuple(answers)
    assert ended.memory_peak == sum(sizes) * PAGE


def test_caps_of_jobs_side_by_side_do_not_mix(worker: Worker) -> None:
    """Each of many jobs that grow at the same time, in slices, gets its own cap and its own bill."""
    source = """(module (memory 0) (func (export "f") (param $rest i64)
        (loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (loop $again
            (local.set $rest (i64.sub (local.get $rest) (i64.const 1)))
            (br_if $again (i64.gt_s (local.get $rest) (i64.const 0))))
        (loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (unreachable)))"""
    module = mapped(worker, source, counted=True)
    caps = [pages * PAGE for pages in range(1, 41)]
    tickets = worker.start(*[worker.assign(module, "f", 200_000, memory=cap) for cap in caps])
    outcomes = worker.outcomes(tickets)
    assert {ended.status for ended in outcomes} == {"out_of_memory"}
    assert [ended.memory_peak for ended in outcomes] == caps


def test_the_peak_of_a_fixed_memory(worker: Worker) -> None:
    """A module that cannot grow is billed what it starts with, exported or not, and without a memory nothing."""
    for text, peak in (("(memory 3)", 3), ('(memory (export "m") 3)', 3), ("(memory 3 3)", 3), ("", 0)):
        module = mapped(worker, f'(module {text} (func (export "f")))', counted=False)
        assert worker.run(module, "f").memory_peak == peak * PAGE


def test_the_peak_of_a_job_that_was_stopped(worker: Worker) -> None:
    """A job that runs out of fuel, or is cancelled, is billed the memory it had then."""
    source = """(module (memory 1)
        (func (export "f") (drop (memory.grow (i32.const 4))) (loop $again (br $again))))"""
    assert worker.run(source, "f", fuel=500_000).memory_peak == 5 * PAGE
    (ticket,) = worker.start(worker.assign(worker.map(source), "f", fuel=10**15))
    worker.until_underway([ticket])
    assert worker.cancel([ticket])[0].memory_peak == 5 * PAGE


def test_a_heavy_module_is_pooled_and_capped_and_billed(worker: Worker) -> None:
    """A module with much data grows in the pool: up to its cap, refused above it, and its peak is its size."""
    module = mapped(worker, HEAVY, counted=False)
    assert worker.run(module, "grow", 8, memory=16 * PAGE).values == (8,)
    assert worker.run(module, "grow", 9, memory=16 * PAGE).values == (-1,)
    assert worker.run(module, "grow", 8, memory=16 * PAGE).memory_peak == 16 * PAGE
    assert worker.run(module, "grow", 9, memory=16 * PAGE).memory_peak == 8 * PAGE


def test_data_is_fresh_for_every_job(worker: Worker) -> None:
    """What a job did to its module's own data is not there for the next one."""
    module = mapped(worker, HEAVY, counted=False)
    limits: dict[str, Any] = {"memory": MIB}
    for _ in range(3):
        assert worker.run(module, "count", ord("x"), **limits).values == (300_000,)
        assert worker.run(module, "change", **limits).status == "succeeded"
        assert worker.run(module, "count", ord("y"), **limits).values == (0,)


# "write" fills a memory to its end with a pattern, "read" sums what is there in 64-bit steps.
SCRATCH = """(module {memory}
    (func $size (result i64) (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))
    (func (export "write") (param $pages i32)
        {grow}
        (memory.fill (i32.const 0) (i32.const 0xa5) (i32.wrap_i64 (call $size))))
    (func (export "read") (param $pages i32) (result i64) (local $at i64) (local $sum i64)
        {grow}
        (loop $again
            (local.set $sum (i64.or (local.get $sum) (i64.load (i32.wrap_i64 (local.get $at)))))
            (br_if $again
                (i64.lt_u (local.tee $at (i64.add (local.get $at) (i64.const 8))) (call $size))))
        (local.get $sum))
    (func (export "peek") (param $at i32) (result i32) (i32.load8_u (local.get $at)))
    (func (export "write_and_spin") (param $pages i32)
        {grow}
        (memory.fill (i32.const 0) (i32.const 0xa5) (i32.wrap_i64 (call $size)))
        (loop $again (br $again)))
    (func (export "write_and_trap") (param $pages i32)
        {grow}
        (memory.fill (i32.const 0) (i32.const 0xa5) (i32.wrap_i64 (call $size)))
        (unreachable)))"""
COUNTED = SCRATCH.format(memory="(memory 1)", grow="(drop (memory.grow (local.get $pages)))")
COUNTED_TOO = SCRATCH.format(memory="(memory 2 100)", grow="(drop (memory.grow (local.get $pages)))")
POOLED = SCRATCH.format(memory="(memory 20 20)", grow="")
POOLED_TOO = SCRATCH.format(memory="(memory 24)", grow="")
POOLED_WITH_DATA = SCRATCH.format(memory='(memory 20 20) (data (i32.const 9) "\\00")', grow="")


@pytest.mark.parametrize("ending", ["write", "write_and_trap", "write_and_spin"])
@pytest.mark.parametrize("pages", [10, 60])
def test_no_byte_passes_to_the_next_job(worker: Worker, ending: str, pages: int) -> None:
    """However a job ended that filled its memory, the next reads zeros: of the same module, of another, of either kind.

    The sizes are such that a memory that the worker makes itself is emptied in each of the ways it has.
    """
    sources = [(COUNTED, True), (COUNTED_TOO, True), (POOLED, False), (POOLED_TOO, False), (POOLED_WITH_DATA, False)]
    modules = [mapped(worker, source, counted=counted) for source, counted in sources]
    for writer in modules:
        tickets = worker.start(*[worker.assign(writer, ending, pages, fuel=5_000_000) for _ in range(3)])
        assert len({ended.status for ended in worker.outcomes(tickets)}) == 1
        for reader in modules:
            ended = worker.run(reader, "read", pages, fuel=10**9)
            assert (ended.status, ended.values) == ("succeeded", (0,))


def test_no_byte_passes_between_jobs_at_the_same_time(worker: Worker) -> None:
    """A job that runs beside others that have filled their memory reads zeros."""
    for source in (COUNTED, POOLED):
        module = worker.map(source)
        writers = worker.start(*[worker.assign(module, "write_and_spin", 3, fuel=10**15) for _ in range(8)])
        worker.until_underway(writers)
        assert worker.run(module, "read", 3).values == (0,)
        worker.cancel(writers)
        assert worker.run(module, "read", 3).values == (0,)


def test_nothing_beyond_the_memorys_size_can_be_read(worker: Worker) -> None:
    """Behind a small memory in the place of a large one every access traps, at once and far out."""
    for large, small, size in ((COUNTED, COUNTED, 1), (COUNTED, COUNTED_TOO, 2), (POOLED_TOO, POOLED, 20)):
        for pages in (10, 60):
            assert worker.run(large, "write", pages).status == "succeeded"
            assert worker.run(small, "peek", size * PAGE - 1).values == (0,)
            for at in (size * PAGE, (size + 1) * PAGE, 2**31 - 1, -1):
                ended = worker.run(small, "peek", at)
                assert (ended.status, ended.trap) == ("trapped", "memory_out_of_bounds")


def test_a_64_bit_memory(worker: Worker) -> None:
    """A memory with 64-bit addresses is counted, capped and empty like another."""
    source = """(module (memory i64 1)
        (func (export "grow") (param $pages i64) (result i64) (memory.grow (local.get $pages)))
        (func (export "write") (memory.fill (i64.const 0) (i32.const 1) (i64.const 65536)))
        (func (export "read") (param $at i64) (result i64) (i64.load (local.get $at))))"""
    assert worker.run(source, "grow", 15, memory=16 * PAGE).values == (1,)
    assert worker.run(source, "grow", 16, memory=16 * PAGE).values == (-1,)
    assert worker.run(source, "grow", 2**48, memory=16 * PAGE).values == (-1,)
    assert worker.run(source, "write").status == "succeeded"
    assert worker.run(source, "read", PAGE - 8).values == (0,)
    for at in (PAGE - 7, 2**32, 2**32 * 100, -8):
        assert worker.run(source, "read", at).trap == "memory_out_of_bounds"


def test_the_largest_memories(worker: Worker) -> None:
    """4 GiB of addresses are there for the asking, pooled and counted, at the price of the pages that are touched."""
    big = 4 * 2**30
    ended = worker.run('(module (memory 65536) (func (export "f")))', "f", memory=big)
    assert (ended.status, ended.memory_peak) == ("succeeded", big)
    ended = worker.run(GROW.format(limits=0), "grow", 65_536, memory=big)
    assert (ended.values, ended.memory_peak) == ((0,), big)
    assert worker.run('(module (memory i64 65537) (func (export "f")))', "f", memory=2 * big).status == "trapped"


TABLE = """(module (table $t 1 funcref)
    (func (export "grow") (param $by i32) (result i32) (table.grow $t (ref.null func) (local.get $by)))
    (func (export "grow_for_ever") (loop $again
        (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) (unreachable)))"""


@pytest.mark.parametrize(("by", "answer"), [(0, 1), (99_999, 1), (100_000, -1), (2**31 - 1, -1), (-1, -1)])
def test_a_table_grows_to_its_limit(worker: Worker, by: int, answer: int) -> None:
    """`table.grow` gives the size before up to 100 000 elements and -1 above; the guest decides what comes of it."""
    assert worker.run(TABLE, "grow", by).values == (answer,)


def test_a_table_that_grows_for_ever(worker: Worker) -> None:
    """Growing a table step by step ends at the same limit; dying of it is a trap and costs the neighbours nothing."""
    assert worker.run(TABLE, "grow_for_ever").trap == "unreachable"
    assert worker.run(TABLE, "grow", 99_999).values == (1,)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ("(table 200000 funcref)", "table minimum size of 200000 elements exceeds table limits"),
        ("(table 4000000000 funcref)", "table minimum size of 4000000000 elements exceeds table limits"),
        ("(table 100001 externref)", "table minimum size of 100001 elements exceeds table limits"),
        ("(table 1 funcref)" * 9, "table count too high at 9"),
    ],
    ids=["200 000 elements", "4 000 000 000 elements", "100 001 references", "9 tables"],
)
def test_too_many_or_too_large_tables_are_told(worker: Worker, tables: str, said: str) -> None:
    """A module that starts with more than a table may have ends as trapped, with the size, and the worker lives on."""
    ended = worker.run(f'(module {tables} (func (export "f")))', "f")
    assert (ended.status, ended.trap) == ("trapped", "instantiation")
    assert ended.error is not None
    assert said in ended.error
    assert worker.run(GUESTS / "mul.wat", "mul", 2, 4).values == (8,)


def test_tables_at_their_limits(worker: Worker) -> None:
    """Eight tables of 100 000 elements each are granted, and fresh for every job."""
    tables = "".join(f"(table $t{place} 100000 funcref)" for place in range(8))
    source = f"""(module {tables} (elem declare func $f) (func $f)
        (func (export "put") (table.set $t7 (i32.const 99999) (ref.func $f)))
        (func (export "get") (result i32) (ref.is_null (table.get $t7 (i32.const 99999)))))"""
    for _ in range(3):
        assert worker.run(source, "put").status == "succeeded"
        assert worker.run(source, "get").values == (1,)
