"""A component runs like any other guest: metered, sliced, capped, ended, and it leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import wasmq
from wasmq import Limits

TYPES = (
    '(core module $m (memory (export "memory") 1)'
    '(func (export "big") (param i32) (result i32) (drop (memory.grow (i32.div_u (local.get 0) (i32.const 65536))))'
    "(i32.store (i32.const 8) (i32.const 64)) (i32.store (i32.const 12) (local.get 0)) (i32.const 8))"
    '(func (export "overlapping") (param i32) (result i32) (local i32) (drop (memory.grow (i32.const 160)))'
    "(loop $l (i32.store (i32.add (i32.const 1024) (i32.mul (local.get 1) (i32.const 8))) (i32.const 64))"
    "(i32.store (i32.add (i32.const 1028) (i32.mul (local.get 1) (i32.const 8))) (i32.const 1000000))"
    "(br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (local.get 0))))"
    "(i32.store (i32.const 8) (i32.const 1024)) (i32.store (i32.const 12) (local.get 0)) (i32.const 8))"
    '(func (export "spin") (loop $l (br $l)))'
    '(func (export "spin-after") (param i32) (loop $l (br $l)))'
    '(func (export "trap-after") (param i32) unreachable)'
    '(func (export "after") (param i32))'
    '(func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))'
    '(func (export "recurse") (result i32) (call $r)) (func $r (result i32) (i32.add (i32.const 1) (call $r)))'
    '(func (export "burn") (param i32) (result i32) (loop $l (br_if $l (local.tee 0 (i32.sub (local.get 0)'
    " (i32.const 1))))) (i32.const 7))"
    '(func (export "grow") (param i32) (result i32)'
    "(if (i32.eq (memory.grow (local.get 0)) (i32.const -1)) (then unreachable)) (memory.size)))"
    "(core instance $i (instantiate $m))"
)
MEMORY = '(memory (core memory $i "memory"))'
GUEST = f"""(component {TYPES}
 (func (export "big") (param "n" u32) (result (list u8)) (canon lift (core func $i "big") {MEMORY}))
 (func (export "text") (param "n" u32) (result string)
   (canon lift (core func $i "big") {MEMORY} (post-return (core func $i "after"))))
 (func (export "overlapping") (param "n" u32) (result (list (list u8)))
   (canon lift (core func $i "overlapping") {MEMORY}))
 (func (export "spin") (canon lift (core func $i "spin")))
 (func (export "spin-after") (param "n" u32) (result string)
   (canon lift (core func $i "big") {MEMORY} (post-return (core func $i "spin-after"))))
 (func (export "trap-after") (param "n" u32) (result string)
   (canon lift (core func $i "big") {MEMORY} (post-return (core func $i "trap-after"))))
 (func (export "divide") (param "a" s32) (param "b" s32) (result s32) (canon lift (core func $i "divide")))
 (func (export "recurse") (result s32) (canon lift (core func $i "recurse")))
 (func (export "burn") (param "n" u32) (result u32) (canon lift (core func $i "burn")))
 (func (export "grow") (param "pages" u32) (result u32) (canon lift (core func $i "grow")))
)"""
TWO_MEMORIES = """(component
 (core module $a (memory (export "memory") 1)
   (func (export "grow") (param i32) (result i32)
     (if (i32.eq (memory.grow (local.get 0)) (i32.const -1)) (then unreachable)) (memory.size)))
 (core instance $a (instantiate $a)) (core instance $b (instantiate $a))
 (func (export "first") (param "pages" u32) (result u32) (canon lift (core func $a "grow")))
 (func (export "second") (param "pages" u32) (result u32) (canon lift (core func $b "grow"))))"""
HEAVY = f"""(component
 (core module $m (memory 8) (data (i32.const 0) "{"x" * 300_000}")
   (func (export "grow") (param i32) (result i32)
     (if (i32.eq (memory.grow (local.get 0)) (i32.const -1)) (then unreachable)) (memory.size))
   (func (export "last") (result i32) (i32.load8_u (i32.const 299999))))
 (core module $fixed (memory 2 2))
 (core instance (instantiate $fixed))
 (core instance $i (instantiate $m))
 (func (export "grow") (param "pages" u32) (result u32) (canon lift (core func $i "grow")))
 (func (export "last") (result u32) (canon lift (core func $i "last"))))"""
START = """(component
 (core module $m (func $s (loop $l (br $l))) (start $s) (func (export "f")))
 (core instance $i (instantiate $m))
 (func (export "f") (canon lift (core func $i "f"))))"""
PAGE = 65_536


async def outcome(scheduler: wasmq.Scheduler, module: Any, export: str, *args: Any, **limits: Any) -> wasmq.Outcome:
    """Run one job and return its outcome, whatever it is."""
    return await (await scheduler.submit(module, export, *args, limits=Limits(**limits)))


@pytest.mark.parametrize(
    ("export", "args", "limits", "status", "code"),
    [
        ("divide", (7, 2), {}, "succeeded", None),
        ("divide", (7, 0), {}, "trapped", "integer_divide_by_zero"),
        ("divide", (-(2**31), -1), {}, "trapped", "integer_overflow"),
        ("recurse", (), {}, "trapped", "stack_overflow"),
        ("spin", (), {"fuel": 1_000_000}, "out_of_fuel", None),
        ("spin", (), {"fuel": 10**12, "timeout": 0.05}, "timed_out", None),
        ("spin-after", (3,), {"fuel": 1_000_000}, "out_of_fuel", None),
        ("trap-after", (3,), {}, "trapped", "unreachable"),
        ("grow", (10,), {"memory": "1MiB"}, "succeeded", None),
        ("grow", (17,), {"memory": "1MiB"}, "out_of_memory", "unreachable"),
        ("text", (1_000,), {}, "succeeded", None),
        ("big", (1_000,), {}, "succeeded", None),
        ("big", (30 * 2**20,), {}, "trapped", "host"),
        ("text", (30 * 2**20,), {}, "trapped", "host"),
        ("overlapping", (100_000,), {}, "trapped", "host"),
    ],
)
@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_every_ending(
    open_scheduler: Any, engine: str, export: str, args: Any, limits: Any, status: str, code: str | None
) -> None:
    """A component's job ends with the same statuses and trap codes as a module's, and the next one runs."""
    async with open_scheduler(engine=engine) as scheduler:
        module = await scheduler.load(GUEST)
        ended = await outcome(scheduler, module, export, *args, **limits)
        assert (ended.status, ended.trap and ended.trap.code) == (status, code), ended.error
        assert "\n" not in (ended.error or "")
        assert (await scheduler.run(module, "divide", 7, 2)).value == 3


async def test_fuel_is_the_same_on_both_engines_and_in_every_slice(open_scheduler: Any) -> None:
    """The bill depends on the call alone."""
    bills = set()
    for engine in ("native", "interpreter"):
        for quantum in (1_000, 7_919, 10**9):
            async with open_scheduler(engine=engine, quantum=quantum) as scheduler:
                module = await scheduler.load(GUEST)
                ended = await outcome(scheduler, module, "burn", 100_000)
                assert ended.value == 7
                bills.add((ended.fuel_used, ended.memory_peak))
    assert len(bills) == 1


async def test_a_cancelled_component_ends(open_scheduler: Any) -> None:
    """A running component can be cancelled, and others run beside it meanwhile."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(GUEST)
        job = await scheduler.submit(module, "spin", limits=Limits(fuel=10**12, timeout=60.0))
        assert (await scheduler.run(module, "divide", 7, 2)).value == 3
        await job.cancel()
        assert (await job).status == "cancelled"


async def test_a_start_function_is_metered(open_scheduler: Any) -> None:
    """What runs while a component is instantiated is on its bill."""
    async with open_scheduler() as scheduler:
        ended = await outcome(scheduler, await scheduler.load(START), "f", fuel=100_000)
        assert (ended.status, ended.fuel_used) == ("out_of_fuel", 100_000)


async def test_the_cap_is_for_all_memories_together(open_scheduler: Any) -> None:
    """Two core instances share one cap, and the peak is their sum."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(TWO_MEMORIES)
        ended = await outcome(scheduler, module, "second", 6, memory=8 * PAGE)
        assert (ended.status, ended.value, ended.memory_peak) == ("succeeded", 7, 8 * PAGE)
        ended = await outcome(scheduler, module, "second", 7, memory=8 * PAGE)
        assert (ended.status, ended.memory_peak) == ("out_of_memory", 2 * PAGE)
        assert "growth over the cap" in (ended.error or "")


async def test_a_heavy_component_has_its_exact_cap(open_scheduler: Any) -> None:
    """One with much data is mapped copy-on-write, and can grow to its cap less its fixed memories, to the page."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(HEAVY)
        assert (module.counted, module.memory) == (False, 10 * PAGE)
        assert (await scheduler.run(module, "last")).value == ord("x")
        assert (await outcome(scheduler, module, "grow", 6, memory=16 * PAGE)).value == 14
        assert (await outcome(scheduler, module, "grow", 7, memory=16 * PAGE)).status == "trapped"
        ended = await outcome(scheduler, module, "last", memory=9 * PAGE)
        assert ended.status == "out_of_memory"
        assert "starts with 655360 bytes" in (ended.error or "")


async def test_components_leave_nothing_behind(open_scheduler: Any, components: Any) -> None:
    """Thousands of calls with arguments and results of every shape keep the worker as large as it was."""
    value = {"name": "n" * 100, "home": {"street": "s", "zip": 1, "is-home": True}, "others": []}
    padding = tuple(range(17))

    others = set(worker_pids())
    async with open_scheduler() as scheduler:
        module = await scheduler.load(components / "values.wat")
        guest = await scheduler.load(GUEST)

        async def mix(rounds: int) -> None:
            for _ in range(rounds):
                jobs = [await scheduler.submit(module, "nested", (value, padding)) for _ in range(20)]
                jobs += [await scheduler.submit(module, "bytes", (b"x" * 500, padding)) for _ in range(20)]
                jobs += [await scheduler.submit(module, "result", (wasmq.Ok("y"), padding)) for _ in range(20)]
                jobs += [await scheduler.submit(guest, "divide", 7, 0) for _ in range(20)]
                jobs += [await scheduler.submit(guest, "text", 2_000, limits=Limits(fuel=300)) for _ in range(20)]
                await asyncio.gather(*jobs)

        await mix(20)
        (pid,) = set(worker_pids()) - others
        before = resident(pid)
        await mix(40)
        assert resident(pid) - before < 4_000 * 128 + 2 * 2**20


def worker_pids() -> list[int]:
    """Return the worker processes of this process."""
    children = [pid for entry in Path("/proc/self/task").glob("*/children") for pid in entry.read_text().split()]
    return [int(pid) for pid in children if b"wasmq_worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def resident(pid: int) -> int:
    """Return the resident size of a process in bytes."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1_024
