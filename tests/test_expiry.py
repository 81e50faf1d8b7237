"""Deadlines of a running scheduler: refused, flagged, earliest first, ended when they pass, whatever the clock does."""

import asyncio
import math
import os

import pytest
from clocks import SteppingClock
from watching import ENDLESS, running, until_running

import wasmq
from wasmq.config import configured

PASSED = "timed out: its deadline passed"


async def occupied(scheduler, guests):
    """Return a loop module, one of whose jobs has the only instance there is, and that job."""
    loop = await scheduler.load(guests / "loop.wat")
    hog = await scheduler.submit(loop, "spin", limits=ENDLESS)
    await until_running(scheduler, hog.id)
    return loop, hog


async def test_a_job_that_waits_beyond_its_deadline_is_not_started(make_scheduler, guests):
    """It ends as timed out, with no fuel and no attempt, while others still hold the workers; `run` raises it."""
    async with running(make_scheduler, instances=1) as scheduler:
        loop, hog = await occupied(scheduler, guests)
        job = await scheduler.submit(loop, "burn", 1, deadline=0.2)
        other = await scheduler.submit(loop, "burn", 1, deadline=300.0)
        outcome = await job
        assert (outcome.status, outcome.fuel_used, outcome.attempts) == ("timed_out", 0, 0)
        assert outcome.error == f"{PASSED} before it started"
        with pytest.raises(wasmq.TimedOut, match=PASSED):
            await scheduler.run(loop, "burn", 1, deadline=0.1)
        assert (await scheduler.job(other.id)).state == "queued"
        await hog.cancel()
        assert (await other).status == "succeeded"
        record = await scheduler.job(job.id)
        assert record.state == "finished"


async def test_a_running_job_is_ended_at_its_deadline(make_scheduler, guests):
    """Its timeout is the time that is left, and the line says which of the two it was."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        outcome = await (await scheduler.submit(loop, "spin", limits=ENDLESS, deadline=1.0))
        assert outcome.status == "timed_out"
        assert outcome.error.startswith(PASSED)
        short = wasmq.Limits(fuel=10**12, timeout=0.2)
        outcome = await (await scheduler.submit(loop, "spin", limits=short, deadline=100.0))
        assert (outcome.status, outcome.error) == ("timed_out", "timed out: ran for longer than 0.2 s")


async def test_the_earliest_deadline_goes_first(make_scheduler, guests):
    """Of one tenant's jobs; those without a deadline come last."""
    async with running(make_scheduler, instances=1) as scheduler:
        loop, hog = await occupied(scheduler, guests)
        ended = []
        deadlines = [None, 300.0, 100.0, 200.0]
        jobs = [await scheduler.submit(loop, "burn", 1, deadline=deadline) for deadline in deadlines]

        async def note(job, deadline):
            await job
            ended.append(deadline)

        async with asyncio.TaskGroup() as tasks:
            for job, deadline in zip(jobs, deadlines, strict=True):
                tasks.create_task(note(job, deadline))
            await hog.cancel()
        records = [await scheduler.job(job.id) for job in jobs]
        assert [record.outcome.status for record in records] == ["succeeded"] * 4
        assert ended == [100.0, 200.0, 300.0, None]


async def test_a_deadline_that_cannot_be_is_refused(make_scheduler, guests):
    """One in the past, too far away, or none at all, says what would be one; nothing is queued."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        for deadline in (0, 0.0, -1.0, float("nan"), float("inf"), 1e9, "soon", True):
            with pytest.raises(wasmq.InvalidArguments, match=r"deadline: .* seconds from now"):
                await scheduler.submit(mul, "mul", 2, 4, deadline=deadline)
        with pytest.raises(wasmq.InvalidArguments, match=r"deadline: 2 s from now is not after the delay of 2 s"):
            await scheduler.submit(mul, "mul", 2, 4, deadline=2.0, delay=2.0)
        assert await scheduler.jobs() == []


async def test_a_job_that_cannot_make_it_is_refused(make_scheduler, guests):
    """By how long such calls have run; with what was expected in the line. One with more time is taken."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        await scheduler.run(loop, "burn", 10_000_000)
        with pytest.raises(wasmq.DeadlineUnmeetable, match=r"deadline: 0\.0001 s is too soon: .* run for "):
            await scheduler.submit(loop, "burn", 10_000_000, deadline=0.0001)
        assert len(await scheduler.jobs()) == 1
        assert b'wasmq_rejected_total{reason="deadline_unmeetable"} 1.0' in scheduler.metrics.render()
        job = await scheduler.submit(loop, "burn", 10_000_000, deadline=60.0)
        assert job.at_risk is False
        assert (await job).status == "succeeded"


async def test_a_batch_counts_what_it_brings_itself(make_scheduler, guests):
    """Each job of it would be in time alone; all together they would not, and none of them is taken."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        outcome = await scheduler.run(loop, "burn", 10_000_000)
        within = 2 * outcome.ran
        request = wasmq.Request(module=loop.digest, export="burn", args=(10_000_000,), deadline=within)
        # As many as cannot be done in twice the time on any number of workers that there are here.
        rate = (await scheduler.estimate(loop, "burn")).fuel_rate
        many = 10 + math.ceil(2 * within * rate * (os.cpu_count() or 1) / outcome.fuel_used)
        with pytest.raises(wasmq.DeadlineUnmeetable):
            await scheduler.submit_many([request] * many)
        assert len(await scheduler.jobs()) == 1


async def test_a_job_that_cannot_make_it_is_flagged(make_scheduler, config, guests):
    """Where that is configured it is taken, and its handle says what was expected."""
    flagging = configured(config, {"scheduler.deadlines": "flag"})
    async with running(make_scheduler, config=flagging) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        await scheduler.run(loop, "burn", 10_000_000)
        job = await scheduler.submit(loop, "burn", 10_000_000, deadline=0.0001)
        assert job.at_risk is True
        assert (await job).status == "timed_out"


@pytest.mark.parametrize("step", [-3600.0, -1e9])
async def test_a_clock_that_steps_back_gives_no_more_time(make_scheduler, guests, step):
    """Neither to a job that waits nor to one that runs."""
    clock = SteppingClock()
    async with running(make_scheduler, instances=1, clock=clock) as scheduler:
        loop, hog = await occupied(scheduler, guests)
        waiting = await scheduler.submit(loop, "burn", 1, deadline=0.5)
        clock.step(step)
        assert (await waiting).error == f"{PASSED} before it started"
        await hog.cancel()
        await hog
        spinning = await scheduler.submit(loop, "spin", limits=ENDLESS, deadline=0.5)
        assert (await spinning).status == "timed_out"


async def test_a_deadline_outlives_the_scheduler(make_scheduler, guests, tmp_path):
    """On a durable store it passes while nobody runs, and the next scheduler ends the job."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    async with running(make_scheduler, store=url, instances=1, grace=0.0) as scheduler:
        loop, hog = await occupied(scheduler, guests)
        late = await scheduler.submit(loop, "burn", 1, deadline=10.0)
        good = await scheduler.submit(loop, "burn", 1, deadline=300.0)
    clock = SteppingClock()
    clock.step(20.0)
    async with running(make_scheduler, store=url, instances=1, clock=clock) as scheduler:
        outcome = (await scheduler.wait(late.id)).outcome
        assert (outcome.status, outcome.fuel_used) == ("timed_out", 0)
        await scheduler.cancel(hog.id)
        record = await scheduler.wait(good.id)
        assert record.outcome.status == "succeeded"
        assert record.job.deadline is not None


async def test_a_job_that_waits_for_memory_can_be_late(make_scheduler):
    """It was claimed, and never sent: it ends as one that was never started."""
    spin = (
        '(module (memory 1) (func (export "spin") (loop $again (br $again))) (func (drop (memory.grow (i32.const 1)))))'
    )
    limits = wasmq.Limits(fuel=10**12, timeout=600.0, memory="40MiB")
    async with running(make_scheduler, memory="60MiB") as scheduler:
        module = await scheduler.load(spin.encode())
        hog = await scheduler.submit(module, "spin", limits=limits)
        await until_running(scheduler, hog.id)
        late = await scheduler.submit(module, "spin", limits=limits, deadline=0.3)
        outcome = await late
        assert (outcome.status, outcome.attempts) == ("timed_out", 0)
        assert (await scheduler.job(late.id)).attempts == 0
        assert outcome.error == f"{PASSED} before it started"
        await hog.cancel()
