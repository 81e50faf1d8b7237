"""Real guests beside each other: whatever five of them do, a hundred short jobs come through."""

from __future__ import annotations

import asyncio

import pytest

import wasmq

NEIGHBOURS = ("sleep", "flood", "spin", "parked", "grow")


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
            await scheduler.submit(await scheduler.load(guests / "neighbours" / f"{name}.wat"), "run", limits=limits)
            for name in NEIGHBOURS
        ]
        await reached.wait()
        for number in range(100):
            outcome = await scheduler.run(mul, "mul", number, 7)
            assert (outcome.value, outcome.fuel_used) == (7 * number, 4)
        assert [job.outcome for job in neighbours] == [None] * 5
        for job in neighbours:
            await job.cancel()
        assert {(await job).status for job in neighbours} == {"cancelled"}
