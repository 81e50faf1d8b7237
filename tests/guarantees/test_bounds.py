"""Promise 10: the queue, the history and what a result can be are bounded, and a refusal says why."""

import asyncio
import os
import signal

import pytest
from clocks import VirtualClock
from watching import ENDLESS, running, until, until_running, worker_of

import wasmq
from wasmq.config import Config, ModulesConfig, StoreConfig


async def test_the_queue_is_bounded_for_all_and_for_each(make_scheduler, guests):
    """However many try at once, no more than so many wait; the others are refused, or are let in as it empties."""
    tenants = {"small": wasmq.Tenant(max_queued=5)}
    async with running(make_scheduler, instances=1, max_queued=20, tenants=tenants) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        hog = await scheduler.submit(loop, "spin", limits=ENDLESS)
        await until_running(scheduler, hog.id)
        tries = [scheduler.submit(loop, "burn", 1, tenant="small", wait=False) for _ in range(10)]
        tries += [scheduler.submit(loop, "burn", 1, wait=False) for _ in range(30)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        refused = [result for result in results if isinstance(result, wasmq.QueueFull)]
        accepted = [result for result in results if isinstance(result, wasmq.JobHandle)]
        assert (len(accepted), len(refused)) == (20, 20)
        assert len(await scheduler.jobs(status="queued", tenant="small")) == 5
        assert all("jobs may wait" in str(error) for error in refused)
        waiting = [asyncio.create_task(scheduler.submit(loop, "burn", 1)) for _ in range(50)]
        await asyncio.sleep(0)
        assert len(await scheduler.jobs(status="queued")) == 20
        await hog.cancel()
        for handle in (*accepted, *await asyncio.gather(*waiting)):
            assert (await handle).status == "succeeded"


async def test_jobs_that_run_again_are_not_refused(make_scheduler, guests):
    """A job whose worker died had its place already: a queue that has filled up meanwhile does not keep it out."""
    async with running(make_scheduler, instances=2, max_queued=1) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        jobs = [await scheduler.submit(loop, "spin", limits=ENDLESS) for _ in range(2)]
        for job in jobs:
            await until_running(scheduler, job.id)
        queued = await scheduler.submit(loop, "burn", 1)
        os.kill(worker_of(scheduler, jobs[0].id), signal.SIGKILL)
        for job in jobs:
            await until_running(scheduler, job.id, 2)
            await job.cancel()
        assert (await queued).status == "succeeded"
        assert (await scheduler.run(loop, "burn", 1)).status == "succeeded"


@pytest.mark.parametrize("history", [0, 5])
async def test_the_history_is_bounded(make_scheduler, config, guests, history):
    """The newest finished jobs can be asked for, their keys count; older ones are unknown and their keys free."""
    config = Config(modules=config.modules, store=StoreConfig(history=history))
    async with running(make_scheduler, config=config) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        jobs = []
        for number in range(20):
            jobs.append(await scheduler.submit(mul, "mul", number, 1, key=f"k{number}"))
            assert (await jobs[-1]).value == number
        kept = [job.id for job in jobs[20 - history :]]
        assert [record.job.id for record in await scheduler.jobs()] == kept[::-1]
        with pytest.raises(wasmq.UnknownJob, match="its history has been pruned"):
            await scheduler.job(jobs[0].id)
        again = await scheduler.submit(mul, "mul", 7, 7, key="k0")
        assert again.id != jobs[0].id
        assert (await again).value == 49
        assert [(await job).value for job in jobs] == list(range(20))


async def test_history_ends_with_its_age(make_scheduler, config, guests):
    """With little time to be asked for, a finished job is soon unknown, and nothing grows."""
    clock = VirtualClock()
    config = Config(modules=config.modules, store=StoreConfig(history_age=60.0))
    async with running(make_scheduler, config=config, clock=clock) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        job = await scheduler.submit(mul, "mul", 2, 4)
        await job
        clock.now += 61.0
        await scheduler.run(mul, "mul", 2, 4)
        assert len(await scheduler.jobs()) == 1
        with pytest.raises(wasmq.UnknownJob):
            await scheduler.job(job.id)


async def test_modules_are_bounded(make_scheduler, tmp_path):
    """In number and in bytes, with the key in the message that would allow more."""
    modules = ModulesConfig(directory=str(tmp_path), max_loaded=2, max_size=1_000)
    async with running(make_scheduler, config=Config(modules=modules)) as scheduler:
        for number in range(2):
            await scheduler.load(f'(module (func (export "f") (result i32) (i32.const {number})))')
        with pytest.raises(wasmq.InvalidModule, match=r"modules\.max_loaded"):
            await scheduler.load("(module)")
        with pytest.raises(wasmq.InvalidModule, match=r"modules\.max_size"):
            await scheduler.load(b"\0asm" + bytes(1_000))


async def test_nothing_is_left_in_memory_of_jobs_that_are_over(make_scheduler, config, guests):
    """Handles, tickets and books of finished jobs are gone: what is kept is the history and no more."""
    config = Config(modules=config.modules, store=StoreConfig(history=10))
    async with running(make_scheduler, config=config) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        async for _ in scheduler.map(loop, "burn", [(n,) for n in range(1_000)]):
            pass
        for _ in range(50):
            await (await scheduler.submit(loop, "burn", 1, delay=600.0, key="k")).cancel()
            await (await scheduler.submit(loop, "spin", limits=ENDLESS)).cancel()
        await until(lambda: not scheduler._pool.running)
        await scheduler.run(loop, "burn", 1)
        assert scheduler._handles == {}
        assert scheduler._settler._unwanted == set()
        assert scheduler._pool._tickets == {}
        assert scheduler._gate._by_tenant == {}
        assert len(scheduler._store._jobs) == 10
