"""Promise 9: a stop starts nothing more, gives running jobs their grace, and leaves nothing behind."""

import asyncio
import gc

import pytest
from watching import ENDLESS, PATIENCE, children, descriptors, running, until, until_running

import wasmq


async def test_running_jobs_get_their_grace(make_scheduler, guests):
    """One that ends within it succeeds as ever; one that waits never starts."""
    async with running(make_scheduler, instances=1, grace=600.0) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        job = await scheduler.submit(loop, "burn", 200_000_000)
        waiting = await scheduler.submit(loop, "burn", 1)
        await until_running(scheduler, job.id)
    assert (await job).status == "succeeded"
    outcome = await waiting
    assert (outcome.status, outcome.attempts) == ("cancelled", 0)
    assert "the scheduler stopped before it finished" in outcome.error


@pytest.mark.parametrize("grace", [0.0, 0.05])
async def test_what_outlasts_the_grace_is_cancelled(make_scheduler, guests, grace):
    """On a store that ends with the process nobody is left waiting."""
    async with running(make_scheduler, grace=grace) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        jobs = [await scheduler.submit(loop, "spin", limits=ENDLESS) for _ in range(3)]
        delayed = await scheduler.submit(loop, "spin", delay=600.0)
        for job in jobs:
            await until_running(scheduler, job.id)
        awaiting = asyncio.create_task(scheduler.run(loop, "spin", limits=ENDLESS))
        await asyncio.sleep(0)
        await scheduler.stop()
        assert (scheduler.live, scheduler.ready) == (False, False)
        assert children() == {}
        assert [(await job).status for job in (*jobs, delayed)] == ["cancelled"] * 4
        with pytest.raises(wasmq.Cancelled):
            await awaiting
        await scheduler.stop()


async def test_nothing_starts_once_a_stop_has_begun(make_scheduler, guests):
    """New work is refused, those who wait for room are sent away, and queued jobs stay queued to the end."""
    async with running(make_scheduler, instances=1, max_queued=1, grace=600.0) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        hog = await scheduler.submit(loop, "spin", limits=ENDLESS)
        await until_running(scheduler, hog.id)
        queued = await scheduler.submit(loop, "burn", 1)
        outside = asyncio.create_task(scheduler.submit(loop, "burn", 2))
        await asyncio.sleep(0)
        stopping = asyncio.create_task(scheduler.stop())
        with pytest.raises(wasmq.SchedulerClosed, match="stopping"):
            await outside
        with pytest.raises(wasmq.SchedulerClosed):
            await scheduler.submit(loop, "burn", 3)
        assert hog.outcome is None
        assert (await scheduler.job(queued.id)).state == "queued"
        # While it gets its grace, a job can still be cancelled; then the stop has nothing to wait for.
        assert await hog.cancel()
        await stopping
        assert (await hog).status == "cancelled"
        assert ((await queued).status, (await queued).attempts) == ("cancelled", 0)


async def test_an_interrupted_stop_is_a_stop(make_scheduler, guests):
    """Who gives up waiting for it ends the grace period; every job is answered, every process gone."""
    async with running(make_scheduler, grace=600.0) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        job = await scheduler.submit(loop, "spin", limits=ENDLESS)
        delayed = await scheduler.submit(loop, "spin", delay=600.0)
        await until_running(scheduler, job.id)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await scheduler.stop()
    assert children() == {}
    assert [(await handle).status for handle in (job, delayed)] == ["cancelled"] * 2


async def test_stopping_from_two_sides_at_once(make_scheduler, guests):
    """The second waits for the first, and so does the end of the block."""
    async with running(make_scheduler, grace=0.05) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        job = await scheduler.submit(loop, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        await asyncio.gather(scheduler.stop(), scheduler.stop())
        assert children() == {}
    assert (await job).status == "cancelled"


async def test_a_stop_while_a_module_is_being_loaded(make_scheduler, guests):
    """Loading ends one way or the other, and the compile process is gone."""
    text = '(module (func (export "f") ' + "(drop (i32.const 1))" * 20_000 + "))"
    async with running(make_scheduler) as scheduler:
        loading = asyncio.create_task(scheduler.load(text))
        await until(lambda: any("wasmq_worker.compiler" in command for command in children().values()))
        await scheduler.stop()
    assert children() == {}
    await asyncio.wait([loading], timeout=PATIENCE)
    assert loading.done()
    loading.exception()


async def test_several_schedulers_leave_nothing_behind(make_scheduler, guests, tmp_path):
    """No process, no descriptor, no task: after any number of schedulers all is as it was, however they ended."""

    async def live(way):
        async with running(make_scheduler, workers=2, grace=0.0, config=wasmq.Config()) as scheduler:
            loop = await scheduler.load(guests / "loop.wat")
            job = await scheduler.submit(loop, "spin", limits=ENDLESS)
            await scheduler.run(loop, "burn", 100)
            await until_running(scheduler, job.id)
            if way == "error":
                raise LookupError
            if way == "stop":
                await scheduler.stop()
        return (await job).status

    await live("plain")
    gc.collect()
    before, tasks = descriptors(), asyncio.all_tasks()
    for way in ("plain", "stop", "error"):
        try:
            assert await live(way) == "cancelled"
        except LookupError:
            assert way == "error"
    await asyncio.sleep(0)
    gc.collect()
    assert children() == {}
    assert [name for name in descriptors() if name not in before] == []
    assert len(descriptors()) == len(before)
    assert asyncio.all_tasks() == tasks


async def test_a_scheduler_that_breaks_leaves_nobody_waiting(make_scheduler, guests, monkeypatch):
    """Should one of its own loops fail, the block ends with that error, and everyone outside who waits is told."""

    async def fail(news):
        raise LookupError("a mistake")

    scheduler = make_scheduler(grace=0.0)
    with pytest.RaisesGroup(pytest.RaisesExc(LookupError, match="a mistake")):
        async with running(lambda: scheduler):
            loop = await scheduler.load(guests / "loop.wat")
            job = await scheduler.submit(loop, "spin", limits=ENDLESS)
            waiting = asyncio.gather(job, return_exceptions=True)
            await until_running(scheduler, job.id)
            monkeypatch.setattr(scheduler._settler, "_settle", fail)
            await scheduler.run(loop, "burn", 1)
    assert [type(error) for error in await waiting] == [wasmq.SchedulerClosed]
    assert children() == {}
