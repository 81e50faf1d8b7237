"""Real guests beside each other: whatever five of them do, a hundred short jobs come through."""

from __future__ import annotations

import asyncio

import pytest

import wasmq

WASI = "wasi_snapshot_preview1"
SLEEP = f"""(module
  (import "{WASI}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "run")
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 3600000000000))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"""
FLOOD = f"""(module
  (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\00\\10\\00\\00")
  (func (export "run") (loop $again
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (br $again))))"""
SPIN = '(module (func (export "run") (loop $again (br $again))))'
PARKED = '(module (import "env" "wait" (func $wait)) (func (export "run") (call $wait)))'
GROW = '(module (memory 1) (func (export "run") (loop $again (drop (memory.grow (i32.const 1))) (br $again))))'


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_short_jobs_come_through_beside_real_neighbours(make_scheduler, guests, engine):
    """A sleeper, a flood, a spinner, a job parked in a host call and one that grows do not keep a `mul` from its turn.

    All share one worker, and all five are still there when the hundred are done.
    """
    async with make_scheduler(engine=engine, grace=0.0) as scheduler:
        reached = asyncio.Event()

        @scheduler.host_function("env", "wait", tenants="*")
        async def wait() -> None:
            reached.set()
            await asyncio.Event().wait()

        mul = await scheduler.load(guests / "mul.wat")
        limits = wasmq.Limits(fuel=10**12, timeout=3_000.0)
        neighbours = [
            await scheduler.submit(await scheduler.load(text), "run", limits=limits)
            for text in (SLEEP, FLOOD, SPIN, PARKED, GROW)
        ]
        await reached.wait()
        for number in range(100):
            outcome = await scheduler.run(mul, "mul", number, 7)
            assert (outcome.value, outcome.fuel_used) == (7 * number, 4)
        assert [job.outcome for job in neighbours] == [None] * 5
        for job in neighbours:
            await job.cancel()
        assert {(await job).status for job in neighbours} == {"cancelled"}
