"""Modules that belong together: what a job links is there, counts, and is reachable; nothing else is."""

import asyncio

import msgspec
import pytest
from watching import running

import wasmq
from wasmq.submission import Request
from wasmq.supply import MAX_LINKS

ENGINES = ["native", "interpreter"]
PAGE = 65_536

SHARED = """(module
  (memory (export "memory") 1)
  (global (export "calls") (mut i32) (i32.const 0))
  (func (export "put") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
  (func (export "get") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"""
# Answers what it found at 16 and then what it put there, seen through the other module.
USER = """(module
  (import "env" "memory" (memory 1))
  (import "env" "put" (func $put (param i32 i32)))
  (import "env" "get" (func $get (param i32) (result i32)))
  (import "env" "calls" (global $calls (mut i32)))
  (func (export "swap") (param i32) (result i32 i32)
    (call $get (i32.const 16))
    (call $put (i32.const 16) (local.get 0))
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.load (i32.const 16))))"""
LINKED_MUL = """(module
  (import "math" "mul" (func $mul (param i32 i32) (result i32)))
  (func (export "mul") (param i32 i32) (result i32) (call $mul (local.get 0) (local.get 1))))"""


async def refused(scheduler, module, export, *args, **options):
    """The line with which a call is refused, and its class; nothing may be queued."""
    with pytest.raises(wasmq.WasmqError) as caught:
        await scheduler.submit(module, export, *args, **options)
    assert not await scheduler.jobs()
    return type(caught.value).__name__, str(caught.value)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_module_sees_what_another_exports(make_scheduler, engine):
    """Memory, functions and globals of the linked module are the same for both, by object or by digest."""
    async with running(make_scheduler, engine=engine) as scheduler:
        shared, user = await scheduler.load(SHARED), await scheduler.load(USER)
        for link in ({"env": shared}, {"env": shared.digest}):
            outcome = await scheduler.run(user, "swap", 7, link=link)
            assert outcome.values == (0, 7)
            assert outcome.memory_peak == PAGE


async def test_two_jobs_never_see_each_others_bytes(make_scheduler):
    """Each job has its own instance of the shared module: none finds what another put there."""
    async with running(make_scheduler) as scheduler:
        shared, user = await scheduler.load(SHARED), await scheduler.load(USER)
        jobs = [await scheduler.submit(user, "swap", number, link={"env": shared}) for number in range(1, 101)]
        for number, outcome in enumerate(await asyncio.gather(*jobs), 1):
            assert outcome.values == (0, number)


async def test_jobs_of_one_batch_have_links_of_their_own(make_scheduler):
    """The same call with different links, submitted together: each runs with its own."""
    answers = [f'(module (func (export "f") (result i32) (i32.const {number})))' for number in range(5)]
    async with running(make_scheduler) as scheduler:
        user = await scheduler.load(
            '(module (import "m" "f" (func $f (result i32))) (func (export "g") (result i32) (call $f)))'
        )
        modules = [await scheduler.load(text) for text in answers]
        requests = [Request(module=user.digest, export="g", link={"m": module}) for module in modules]
        outcomes = [await handle for handle in await scheduler.submit_many(requests)]
    assert [outcome.value for outcome in outcomes] == [0, 1, 2, 3, 4]


async def test_what_is_not_named_is_not_reachable(make_scheduler):
    """A loaded module satisfies nobody's import unless the job names it, and only under that name."""
    async with running(make_scheduler) as scheduler:
        shared, user = await scheduler.load(SHARED), await scheduler.load(USER)
        for link in (None, {}, {"other": shared}):
            kind, line = await refused(scheduler, user, "swap", 1, link=link)
            assert kind == "UnsatisfiedImport"
            assert "nobody offers the import env.memory (memory 1) (and 3 more)" in line


async def test_the_bill_is_the_same_everywhere(make_scheduler):
    """A linked call costs what its instructions cost, on each engine and at each quantum, and reaches both modules."""
    bills = set()
    for options in ({}, {"engine": "interpreter"}, {"quantum": 1_000}):
        async with running(make_scheduler, **options) as scheduler:
            mul = await scheduler.load(
                '(module (func (export "mul") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))'
            )
            outcome = await scheduler.run(await scheduler.load(LINKED_MUL), "mul", 3, 4, link={"math": mul})
            assert outcome.value == 12
            bills.add(outcome.fuel_used)
    assert bills == {8}


@pytest.mark.parametrize("engine", ENGINES)
async def test_they_come_into_being_in_the_order_of_their_imports(make_scheduler, engine):
    """Start functions and reactors' own initialisation run before whoever imports from them; all on one bill."""
    note = '(import "log" "note" (func $note (param i32)))'
    log = """(module (global $seen (mut i32) (i32.const 0))
      (func (export "note") (param i32)
        (global.set $seen (i32.add (i32.mul (global.get $seen) (i32.const 10)) (local.get 0))))
      (func (export "seen") (result i32) (global.get $seen)))"""
    first = f'(module {note} (func $s (call $note (i32.const 1))) (start $s) (func (export "a")))'
    second = f"""(module {note} (import "first" "a" (func)) (func (export "b"))
      (func (export "_initialize") (call $note (i32.const 2))))"""
    main = f"""(module {note} (import "second" "b" (func)) (import "log" "seen" (func $seen (result i32)))
      (func $s (call $note (i32.const 3))) (start $s)
      (func (export "_initialize") (call $note (i32.const 4)))
      (func (export "seen") (result i32) (call $seen)))"""
    async with running(make_scheduler, engine=engine) as scheduler:
        link = {
            "second": await scheduler.load(second),
            "log": await scheduler.load(log),
            "first": await scheduler.load(first),
        }
        outcome = await scheduler.run(await scheduler.load(main), "seen", link=link)
        assert outcome.value == 1234
        assert outcome.fuel_used > 4 * 8


async def test_a_start_function_of_a_linked_module_spends_the_jobs_fuel(make_scheduler):
    """One that never ends is pre-empted like any other code, and ends when the job's fuel is spent."""
    forever = '(module (func $s (loop $l (br $l))) (start $s) (func (export "f")))'
    async with running(make_scheduler) as scheduler:
        user = await scheduler.load('(module (import "m" "f" (func $f)) (func (export "g") (call $f)))')
        link = {"m": await scheduler.load(forever)}
        outcome = await (await scheduler.submit(user, "g", link=link, limits=wasmq.Limits(fuel=300_000)))
    assert (outcome.status, outcome.fuel_used) == ("out_of_fuel", 300_000)


async def test_the_memory_cap_is_on_the_sum(make_scheduler):
    """All memories of all instances come to at most the cap: to begin with, and as they grow."""
    user = """(module (import "env" "grow" (func $grow (param i32) (result i32))) (memory 2)
      (func (export "grow") (param i32) (result i32 i32) (call $grow (local.get 0)) (memory.grow (local.get 0))))"""
    async with running(make_scheduler) as scheduler:
        link = {"env": await scheduler.load(SHARED)}
        module = await scheduler.load(user)
        outcome = await scheduler.run(module, "grow", 2, link=link, limits=wasmq.Limits(memory=7 * PAGE))
        assert (outcome.values, outcome.memory_peak) == ((1, 2), 7 * PAGE)
        outcome = await scheduler.run(module, "grow", 2, link=link, limits=wasmq.Limits(memory=6 * PAGE))
        assert (outcome.values, outcome.memory_peak) == ((1, -1), 5 * PAGE)
        outcome = await (await scheduler.submit(module, "grow", 2, link=link, limits=wasmq.Limits(memory=3 * PAGE - 1)))
        assert outcome.status == "out_of_memory"


async def test_memories_made_between_other_jobs_turns_count_for_their_own_job(make_scheduler):
    """A module whose start function takes many turns is followed by others: what they take is this job's alone."""
    slow = """(module (global $n (mut i32) (i32.const 2000000))
      (func $s (loop $l (global.set $n (i32.sub (global.get $n) (i32.const 1))) (br_if $l (global.get $n))))
      (start $s) (func (export "f")))"""
    late = '(module (import "slow" "f" (func $f)) (memory (export "memory") 3) (func (export "g") (call $f)))'
    user = """(module (import "late" "g" (func $g)) (import "late" "memory" (memory 3))
      (func (export "h") (result i32) (call $g) (memory.size)))"""
    async with running(make_scheduler, quantum=10_000) as scheduler:
        link = {"slow": await scheduler.load(slow), "late": await scheduler.load(late)}
        module = await scheduler.load(user)
        jobs = [await scheduler.submit(module, "h", link=link) for _ in range(4)]
        for outcome in await asyncio.gather(*jobs):
            assert (outcome.value, outcome.memory_peak) == (3, 3 * PAGE)


async def test_tables_are_bounded_over_all_instances(make_scheduler):
    """A linked job has room for more tables than one module alone, but not for any number."""
    tables = '(module (func (export "f")) {} (memory {}))'
    async with running(make_scheduler) as scheduler:
        user = await scheduler.load('(module (import "m0" "f" (func $f)) (func (export "g") (call $f)))')
        modules = [await scheduler.load(tables.format("(table 1 funcref) " * 8, number)) for number in range(5)]
        statuses = []
        for count in (4, 5):
            link = {f"m{place}": module for place, module in enumerate(modules[:count])}
            statuses.append((await (await scheduler.submit(user, "g", link=link))).status)
    assert statuses == ["succeeded", "trapped"]


async def test_a_linked_module_asks_wasi_with_its_own_memory(make_scheduler):
    """WASI writes where the module that calls it has its memory, and both print into one output."""
    hello = """(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 8) "{text}")
      (func (export "say")
        (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 6))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))"""
    user = hello.format(text="second").replace('(func (export "say")', '(func (export "say") (call $say)')
    user = user.replace("(memory", '(import "lib" "say" (func $say)) (memory', 1)
    async with running(make_scheduler) as scheduler:
        link = {"lib": await scheduler.load(hello.format(text="first "))}
        outcome = await scheduler.run(await scheduler.load(user), "say", link=link)
    assert outcome.stdout == b"first second"


async def test_a_linked_module_may_stand_in_for_wasi(make_scheduler):
    """A name that is linked is satisfied by its module alone, also where WASI has the same name."""
    fake = '(module (func (export "sched_yield") (result i32) (i32.const 77)))'
    user = """(module (import "wasi_snapshot_preview1" "sched_yield" (func $f (result i32)))
      (func (export "g") (result i32) (call $f)))"""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(user)
        assert (await scheduler.run(module, "g")).value == 0
        link = {"wasi_snapshot_preview1": await scheduler.load(fake)}
        assert (await scheduler.run(module, "g", link=link)).value == 77


async def test_one_module_under_two_names_is_one_instance(make_scheduler):
    """Both names lead to the same memory."""
    user = """(module
      (import "a" "put" (func $put (param i32 i32)))
      (import "b" "get" (func $get (param i32) (result i32)))
      (func (export "f") (result i32) (call $put (i32.const 0) (i32.const 5)) (call $get (i32.const 0))))"""
    async with running(make_scheduler) as scheduler:
        shared = await scheduler.load(SHARED)
        outcome = await scheduler.run(await scheduler.load(user), "f", link={"a": shared, "b": shared})
        assert (outcome.value, outcome.memory_peak) == (5, PAGE)


async def test_a_module_that_nothing_imports_from_may_fill_anothers_memory(make_scheduler):
    """It is instantiated as well: what it has for others' memories is there before the call."""
    filler = '(module (import "env" "memory" (memory 1)) (data (i32.const 4) "\\2a"))'
    async with running(make_scheduler) as scheduler:
        user = await scheduler.load(
            '(module (import "env" "get" (func $get (param i32) (result i32)))'
            ' (func (export "f") (result i32) (call $get (i32.const 4))))'
        )
        link = {"env": await scheduler.load(SHARED), "filler": await scheduler.load(filler)}
        assert (await scheduler.run(user, "f", link=link)).value == 42


async def test_what_goes_wrong_in_a_linked_module_says_where(make_scheduler):
    """A trap while a linked module comes into being names it; the job's own trap needs no name."""
    trap = '(module (memory 1) (data (i32.const 65536) "x") (func (export "f")))'
    start = '(module (func $s unreachable) (start $s) (func (export "f")))'
    fine = '(module (func (export "f") unreachable))'
    async with running(make_scheduler) as scheduler:
        user = await scheduler.load('(module (import "m" "f" (func $f)) (func (export "g") (call $f)))')
        lines = []
        for source in (trap, start, fine):
            job = await scheduler.submit(user, "g", link={"m": await scheduler.load(source)})
            lines.append(((await job).status, (await job).error))
    assert lines == [
        ("trapped", "trapped: in the linked module 'm': out of bounds memory access"),
        ("trapped", "trapped: in the linked module 'm': unreachable code executed"),
        ("trapped", "trapped: unreachable code executed"),
    ]


async def test_what_the_engine_alone_can_tell_ends_the_job(make_scheduler):
    """Types that lean on a module's own definitions are compared at the start: the job ends clearly, others go on."""
    lib = """(module (type $t (func (param i32))) (func (export "f") (param (ref null $t))))"""
    user = """(module (type $t (func (param i64))) (import "m" "f" (func (param (ref null $t)))) (func (export "g")))"""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(user)
        link = {"m": await scheduler.load(lib)}
        outcome = await (await scheduler.submit(module, "g", link=link))
        assert (outcome.status, outcome.trap.code, outcome.attempts) == ("trapped", "instantiation", 1)
        assert "incompatible import type for `m::f`" in outcome.error
        mul = await scheduler.load('(module (func (export "f") (result i32) (i32.const 1)))')
        assert (await scheduler.run(mul, "f")).worker == "1"


async def test_what_does_not_fit_is_refused(make_scheduler):
    """A missing export, another type, a cycle, a digest that is not there: one line each, before anything is queued."""
    ring = '(module (import "{other}" "f" (func)) (func (export "f")))'
    async with running(make_scheduler) as scheduler:
        shared, user = await scheduler.load(SHARED), await scheduler.load(USER)
        nothing = await scheduler.load("(module)")
        kind, line = await refused(scheduler, user, "swap", 1, link={"env": nothing})
        assert kind == "UnsatisfiedImport"
        assert f"the module {nothing.digest[:12]} that is linked as 'env' does not export the import env.memory" in line
        small = SHARED.replace("(mut i32)", "i32")
        kind, line = await refused(scheduler, user, "swap", 1, link={"env": await scheduler.load(small)})
        assert kind == "UnsatisfiedImport"
        assert "env.calls has another type: it wants (global (mut i32)), there is (global i32)" in line
        one, two = [await scheduler.load(ring.format(other=name)) for name in ("two", "one")]
        kind, line = await refused(scheduler, one, "f", link={"one": one, "two": two})
        assert (kind, line) == ("InvalidArguments", "link: a cycle, 'two' imports from 'one' imports from 'two'")
        kind, line = await refused(scheduler, user, "swap", 1, link={"env": "0" * 64})
        assert kind == "UnknownModule"
        kind, line = await refused(scheduler, user, "swap", 1, link={"env": 5})
        assert (kind, line) == ("InvalidArguments", "link 'env': wants a module or its digest, got 5 (int)")
        many = {f"m{number}": shared for number in range(MAX_LINKS + 1)}
        kind, line = await refused(scheduler, user, "swap", 1, link=many)
        assert (kind, line) == ("InvalidArguments", f"link: {MAX_LINKS + 1} names are above the limit of {MAX_LINKS}")


async def test_the_same_key_with_another_link_is_another_call(make_scheduler):
    """What a job is linked with is part of what a key stands for."""
    async with running(make_scheduler) as scheduler:
        user = await scheduler.load(USER)
        shared = await scheduler.load(SHARED)
        other = await scheduler.load(SHARED.replace("i32.const 0", "i32.const 1"))
        first = await scheduler.submit(user, "swap", 1, key="k", link={"env": shared})
        again = await scheduler.submit(user, "swap", 1, key="k", link={"env": shared.digest})
        assert again.id == first.id
        with pytest.raises(wasmq.KeyConflict):
            await scheduler.submit(user, "swap", 1, key="k", link={"env": other})


async def test_an_artifact_that_was_damaged_is_made_again(make_scheduler):
    """A worker that cannot map what was compiled for linking gives the job back, and it runs with a new one."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(
            '(module (func (export "mul") (param i32 i32) (result i32) (i32.mul (local.get 1) (local.get 0))))'
        )
        user = await scheduler.load(LINKED_MUL)
        await scheduler._library.count(mul.digest)
        scheduler._library.counted(mul.digest).artifact.write_bytes(b"nonsense")
        outcome = await scheduler.run(user, "mul", 3, 4, link={"math": mul})
        assert (outcome.value, outcome.attempts) == (12, 1)


async def test_what_was_compiled_for_linking_is_kept(make_scheduler):
    """A second scheduler on the same directory finds it on the shelf, apart from the plain artifact."""
    source = '(module (func (export "mul") (param i32 i32) (result i32) (i32.mul (i32.const 1) (local.get 0))))'
    seen = []
    for _ in range(2):
        async with running(make_scheduler) as scheduler:
            mul = await scheduler.load(source)
            await scheduler.run(await scheduler.load(LINKED_MUL), "mul", 3, 4, link={"math": mul})
            artifact = scheduler._library.counted(mul.digest).artifact
            assert artifact != mul.artifact
            seen.append((artifact, artifact.stat().st_mtime_ns if not seen else seen[0][1]))
            assert (await scheduler.run(mul, "mul", 3, 4)).value == 3
    assert seen[0] == seen[1]


def test_links_travel_with_the_call():
    """A store keeps them: a call is the same after a round trip."""
    call = wasmq.job.Call("d" * 64, "f", (1,), None, (("env", "e" * 64),))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(call), type=wasmq.job.Call) == call
