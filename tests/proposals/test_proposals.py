"""Each proposal that is on works through the public API, alike on both engines; threads are refused."""

import struct

import pytest
from watching import running

import wasmq
from wasmq.job import Reference

ENGINES = ["native", "interpreter"]
PAGE = 65_536

# Name → text, export, arguments, values.
WORKS = {
    "start function": (
        """(module (global $g (mut i32) (i32.const 1)) (func $s (global.set $g (i32.const 42))) (start $s)
          (func (export "f") (result i32) (global.get $g)))""",
        (),
        (42,),
    ),
    "reactor": (
        """(module (global $g (mut i32) (i32.const 1)) (func (export "_initialize") (global.set $g (i32.const 42)))
          (func (export "f") (result i32) (global.get $g)))""",
        (),
        (42,),
    ),
    "multi-value": (
        '(module (func (export "f") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0)))',
        (1, 2),
        (2, 1),
    ),
    "sign extension": (
        '(module (func (export "f") (param i32) (result i32) (i32.extend8_s (local.get 0))))',
        (255,),
        (-1,),
    ),
    "saturating conversion": (
        '(module (func (export "f") (param f64) (result i32) (i32.trunc_sat_f64_s (local.get 0))))',
        (1e300,),
        (2**31 - 1,),
    ),
    "bulk memory": (
        """(module (memory 1) (data $d "abcd") (func (export "f") (result i32)
          (memory.fill (i32.const 0) (i32.const 0x11) (i32.const 8))
          (memory.init $d (i32.const 2) (i32.const 1) (i32.const 2)) (data.drop $d)
          (memory.copy (i32.const 4) (i32.const 0) (i32.const 4))
          (i32.load (i32.const 4))))""",
        (),
        (0x63621111,),
    ),
    "bulk tables": (
        """(module (table $t 4 funcref) (elem $e func $one) (func $one (result i32) (i32.const 1))
          (func (export "f") (result i32 i32)
            (table.init $t $e (i32.const 2) (i32.const 0) (i32.const 1))
            (table.copy $t $t (i32.const 0) (i32.const 2) (i32.const 1))
            (table.grow $t (ref.null func) (i32.const 3)) (call_indirect $t (result i32) (i32.const 0))))""",
        (),
        (4, 1),
    ),
    "null references": (
        """(module (func (export "f") (param funcref externref) (result externref i32 funcref)
          (local.get 1) (i32.add (ref.is_null (local.get 0)) (ref.is_null (local.get 1))) (local.get 0)))""",
        (None, None),
        (None, 2, None),
    ),
    "references out": (
        '(module (func $f (export "f") (result funcref) (ref.func $f)))',
        (),
        (Reference("funcref"),),
    ),
    "typed function references": (
        """(module (type $t (func (result i32))) (elem declare func $one) (func $one (result i32) (i32.const 1))
          (func (export "f") (result i32) (call_ref $t (ref.func $one))))""",
        (),
        (1,),
    ),
    "SIMD": (
        """(module (func (export "f") (param v128 i32) (result v128)
          (i32x4.add (local.get 0) (i32x4.splat (local.get 1)))))""",
        (struct.pack("<4i", 1, 2, 3, 4), 10),
        (struct.pack("<4i", 11, 12, 13, 14),),
    ),
    "relaxed SIMD, deterministic": (
        """(module (func (export "f") (param v128) (result v128)
          (i32x4.relaxed_trunc_f32x4_s (local.get 0))))""",
        (struct.pack("<4f", 1.5, float("nan"), 1e30, -1e30),),
        (struct.pack("<4i", 1, 0, 2**31 - 1, -(2**31)),),
    ),
    "multi-memory": (
        """(module (memory $a 1) (memory $b 1) (data (memory $b) (i32.const 0) "\\07")
          (func (export "f") (result i32 i32 i32)
          (memory.copy $a $b (i32.const 4) (i32.const 0) (i32.const 1))
          (i32.load8_u $a (i32.const 4)) (memory.grow $b (i32.const 2)) (memory.size $b)))""",
        (),
        (7, 1, 3),
    ),
    "memory64": (
        """(module (memory i64 1) (func (export "f") (param i64) (result i64 i64)
          (i64.store (local.get 0) (i64.const -5)) (i64.load (local.get 0)) (memory.grow (i64.const 1))))""",
        (1_000,),
        (-5, 1),
    ),
    "table64": (
        '(module (table i64 3 funcref) (func (export "f") (result i64) (table.size)))',
        (),
        (3,),
    ),
    "tail calls": (
        """(module (func $down (export "f") (param i32) (result i32)
          (if (i32.eqz (local.get 0)) (then (return (i32.const 9))))
          (return_call $down (i32.sub (local.get 0) (i32.const 1)))))""",
        (1_000_000,),
        (9,),
    ),
    "exceptions": (
        """(module (tag $e (param i32)) (func $thrower (param i32) (throw $e (local.get 0)))
          (func (export "f") (param i32) (result i32)
            (block $caught (result i32)
              (try_table (catch $e $caught) (call $thrower (local.get 0)))
              (i32.const -1))))""",
        (33,),
        (33,),
    ),
    "garbage collection": (
        """(module (type $point (struct (field $x i32) (field $y i32))) (type $row (array (mut i32)))
          (func (export "f") (result i32 i32)
            (struct.get $point $y (struct.new $point (i32.const 1) (i32.const 2)))
            (array.len (array.new $row (i32.const 0) (i32.const 5)))))""",
        (),
        (2, 5),
    ),
    "extended constant expressions": (
        """(module (global $g i32 (i32.add (i32.const 40) (i32.const 2)))
          (func (export "f") (result i32) (global.get $g)))""",
        (),
        (42,),
    ),
}


@pytest.mark.parametrize("name", WORKS)
async def test_what_is_on_works_alike_on_both_engines(make_scheduler, name):
    """The values are right, and the fuel that they cost is the same on each engine."""
    text, args, values = WORKS[name]
    bills = set()
    for engine in ENGINES:
        async with running(make_scheduler, engine=engine) as scheduler:
            outcome = await scheduler.run(await scheduler.load(text), "f", *args)
            assert outcome.values == values
            bills.add(outcome.fuel_used)
    assert len(bills) == 1
    assert bills.pop() > 0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("(module (memory 1 1 shared))", "threads and shared memory are not offered"),
        (
            '(module (memory 1 1) (func (export "f") (drop (i32.atomic.load (i32.const 0)))))',
            "threads and shared memory are not offered",
        ),
        ('(module (import "env" "memory" (memory 1 1 shared)))', "threads and shared memory are not offered"),
    ],
)
async def test_threads_are_refused(make_scheduler, text, line):
    """Shared memory and atomics are refused when the module is loaded, in words that say why."""
    async with running(make_scheduler) as scheduler:
        with pytest.raises(wasmq.InvalidModule, match=line):
            await scheduler.load(text)


async def test_a_reference_that_is_not_null_cannot_be_given(make_scheduler):
    """Only None is taken for one, and not where a type has no null or is the module's own."""
    text = """(module (type $t (func))
      (func (export "any") (param externref)) (func (export "own") (param (ref null $t)))
      (func (export "never") (param (ref func))))"""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(text)
        with pytest.raises(wasmq.InvalidArguments, match="argument 1 of 'any' is externref: wants None"):
            await scheduler.submit(module, "any", "something")
        for export in ("own", "never"):
            with pytest.raises(wasmq.UnknownExport, match="of references only null can be passed"):
                await scheduler.submit(module, export, None)


async def test_the_stack_of_an_exception_that_nobody_catches(make_scheduler):
    """It ends the job under a code of its own."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load('(module (tag $e) (func (export "f") (throw $e)))')
        outcome = await (await scheduler.submit(module, "f"))
    assert (outcome.status, outcome.trap.code) == ("trapped", "uncaught_exception")
