"""No mix of permitted jobs takes more memory than was given to jobs: each starts only where all it can have fits."""

import asyncio
import re
from pathlib import Path

import pytest
from watching import running, sample, until, until_running, workers

import wasmq

MIB = 2**20
BESIDE = 96 * MIB
"""What docs/guarantees.md states that a worker process takes by itself, at most."""
HUNGRY = """
(module
  (memory 1)
  (table 100000 funcref)
  (func $id (param i32) (result i32) (local.get 0))
  (elem declare func $id)
  ;; Take memory page by page, and write into each.
  (func (export "eat") (param $pages i32) (result i32)
    (local $page i32)
    (block $full
      (loop $more
        (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
        (local.set $page (i32.sub (memory.size) (i32.const 1)))
        (memory.fill (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1) (i32.const 65536))
        (br_if $more (i32.lt_u (memory.size) (local.get $pages)))))
    (call $rest (i32.const 3000000))
    (memory.size))
  ;; Fill a table with something.
  (func (export "fill") (result i32)
    (table.fill (i32.const 0) (ref.func $id) (i32.const 100000))
    (call $rest (i32.const 3000000))
    (table.size))
  ;; Go as deep as it goes.
  (func $deep (export "deep") (param i32) (result i32)
    (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
  ;; Stay a while with all of that, so that the others come meanwhile.
  (func $rest (param $n i32)
    (loop $again
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n))))
)
"""
SPIN = '(module (memory 1) (func (export "spin") (loop $again (br $again))) (func (drop (memory.grow (i32.const 1)))))'


def most_resident(pid):
    """Return the most memory that a process has had, in bytes."""
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(kilobytes) * 1024


async def test_hungry_guests_stay_within_what_was_given(make_scheduler):
    """Of jobs that want seven times the budget together, all succeed, and the workers never have more than it."""
    budget = 256 * MIB
    async with running(make_scheduler, workers=2, memory=budget) as scheduler:
        hungry = await scheduler.load(HUNGRY.encode())
        limits = wasmq.Limits(memory=30 * MIB)
        calls = [("eat", 480), ("eat", 300), ("fill",), ("deep", 0)] * 20
        jobs = [
            await scheduler.submit(hungry, *call, limits=limits, tenant=f"t{n % 3}") for n, call in enumerate(calls)
        ]
        outcomes = [await job for job in jobs]
        ended = {
            call[0]: {one.status for one, other in zip(outcomes, calls, strict=True) if other == call} for call in calls
        }
        assert ended == {"eat": {"succeeded"}, "fill": {"succeeded"}, "deep": {"trapped"}}
        assert len(workers()) == 2
        resident = [most_resident(pid) for pid in workers()]
        assert max(resident) < budget // 2 + BESIDE
        assert sample(scheduler, 'wasmq_memory_bytes{state="admitted"}') == 0
        assert sample(scheduler, 'wasmq_memory_bytes{state="free"}') == budget


async def test_who_waits_for_memory_is_in_nobodys_way(make_scheduler, guests):
    """While big jobs of one tenant hold all the memory and hundreds more wait, another's small job answers."""
    async with running(make_scheduler, memory="100MiB") as scheduler:
        spin = await scheduler.load(SPIN.encode())
        mul = await scheduler.load(guests / "mul.wat")
        big = wasmq.Limits(fuel=10**12, timeout=600.0, memory=40 * MIB)
        jobs = [await scheduler.submit(spin, "spin", limits=big, tenant="hog") for _ in range(200)]
        await until(lambda: len(scheduler._pool._tickets) == 2)
        outcome = await scheduler.run(mul, "mul", 6, 7, tenant="light")
        assert outcome.value == 42
        assert len(scheduler._pool._tickets) == 2
        assert scheduler._pool.memory.booked < 100 * MIB
        # Those that wait can be cancelled as any other.
        assert await jobs[2].cancel()
        assert (await jobs[2]).status == "cancelled"
        for job in jobs:
            await job.cancel()
        assert {outcome.status for outcome in await asyncio.gather(*jobs)} == {"cancelled"}
        assert scheduler._pool.memory.booked == 0


async def test_a_job_that_can_never_start_is_refused(make_scheduler):
    """At submission, with the key of the setting that is in its way."""
    async with running(make_scheduler, workers=2, memory="100MiB") as scheduler:
        hungry = await scheduler.load(HUNGRY.encode())
        with pytest.raises(wasmq.LimitTooHigh, match=r"memory: .*50 MiB that one worker has \(scheduler\.memory\)"):
            await scheduler.submit(hungry, "fill", limits=wasmq.Limits(memory="50MiB"))
        assert (await scheduler.run(hungry, "fill", limits=wasmq.Limits(memory="40MiB"))).value == 100_000


async def test_a_job_accepted_where_there_was_more_is_not_waited_for(make_scheduler, config, tmp_path):
    """After a restart with less memory it ends with the reason, and is in nobody's way."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    async with running(make_scheduler, store=url, memory="200MiB", grace=0.0) as scheduler:
        spin = await scheduler.load(SPIN.encode())
        job = await scheduler.submit(spin, "spin", limits=wasmq.Limits(fuel=10**12, timeout=600.0, memory="100MiB"))
        await until_running(scheduler, job.id)
    async with running(make_scheduler, store=url, memory="50MiB") as scheduler:
        outcome = (await scheduler.wait(job.id)).outcome
        assert outcome.status == "lost"
        assert "scheduler.memory" in outcome.error


async def test_memory_that_waits_is_handed_back_at_the_end(make_scheduler, tmp_path):
    """A job that was claimed and waits for memory when the scheduler stops is queued again, uncharged."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    limits = wasmq.Limits(fuel=10**12, timeout=600.0, memory="40MiB")
    async with running(make_scheduler, store=url, memory="60MiB", grace=0.0) as scheduler:
        spin = await scheduler.load(SPIN.encode())
        first, second = [await scheduler.submit(spin, "spin", limits=limits) for _ in range(2)]
        await until_running(scheduler, first.id)
        await until(lambda: scheduler._pool._line)
    async with running(make_scheduler, store=url, memory="100MiB") as scheduler:
        for job in (first, second):
            await until_running(scheduler, job.id, 2)
            assert (await scheduler.job(job.id)).attempts == 1
            await scheduler.cancel(job.id)


def test_the_constant_is_the_one_that_is_documented():
    """What is promised beside the budget is what is tested here."""
    page = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text(encoding="utf-8")
    assert f"{BESIDE // MIB} MiB" in page
