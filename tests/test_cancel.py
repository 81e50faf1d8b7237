"""Ending jobs from outside, before they run and while they do."""

import asyncio
import os
import signal

import pytest
from watching import ENDLESS, running, until, until_running, worker_of

import wasmq
from wasmq.config import Config, StoreConfig, configured
from wasmq.errors import (
    UnknownJob,
)

# "spin" runs until somebody ends it, "mul" has its answer at once.
SPIN = """(module
  (func (export "spin") (loop $again (br $again)))
  (func (export "mul") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))"""


async def test_cancel_before_it_runs(make_scheduler, guests):
    """A job that waits is finished at once and never starts."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        job = await scheduler.submit(mul, "mul", 2, 4, delay=600.0)
        assert await job.cancel() is True
        outcome = await job
        assert (outcome.status, outcome.attempts, outcome.fuel_used) == ("cancelled", 0, 0)
        assert await job.cancel() is False
        assert await scheduler.cancel(job.id) is False
        with pytest.raises(wasmq.Cancelled):
            raise wasmq.errors.error_for(outcome)


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_cancel_while_it_runs(make_scheduler, engine):
    """A guest that would spin for ever ends at its next turn, and what it spent is on the bill."""
    async with running(make_scheduler, engine=engine) as scheduler:
        module = await scheduler.load(SPIN)
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        # Behind it in the same worker: once this has run, the spinning one has had turns.
        await scheduler.run(module, "mul", 1, 1)
        assert await scheduler.cancel(job.id) is True
        outcome = await job
        assert (outcome.status, outcome.attempts) == ("cancelled", 1)
        assert 0 < outcome.fuel_used < 10**12
        assert outcome.fuel_used % scheduler.config.scheduler.quantum == 0
        assert (await scheduler.run(module, "mul", 2, 4)).value == 8


async def test_cancel_between_two_attempts(make_scheduler, config):
    """A job that waits to run again after its worker's death ends at once, and its outcome counts that attempt."""
    config = configured(config, {"scheduler.retry_backoff": 86_400.0, "scheduler.retry_backoff_max": 86_400.0})
    async with running(make_scheduler, config=config) as scheduler:
        module = await scheduler.load(SPIN)
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        os.kill(worker_of(scheduler, job.id), signal.SIGKILL)
        await until(lambda: scheduler._store.counts() == {"queued": 1, "running": 0})
        assert await job.cancel() is True
        assert ((await job).status, (await job).attempts) == ("cancelled", 1)
        record = await scheduler.job(job.id)
        assert (record.attempts, record.outcome.attempts) == (1, 1)


async def test_cancel_while_the_store_queues_it_again(make_scheduler, monkeypatch):
    """A job whose worker has died, and that the store is about to queue again, does not run again."""
    reached, held = asyncio.Event(), asyncio.Event()
    async with running(make_scheduler) as scheduler:
        release = scheduler._store.release

        async def slow(*args, **options):
            reached.set()
            await held.wait()
            await release(*args, **options)

        monkeypatch.setattr(scheduler._store, "release", slow)
        module = await scheduler.load(SPIN)
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        os.kill(worker_of(scheduler, job.id), signal.SIGKILL)
        await reached.wait()
        assert await job.cancel() is True
        held.set()
        assert (await job).status == "cancelled"


async def test_cancel_with_no_history(make_scheduler, config, guests):
    """A scheduler that keeps no finished jobs still answers those who wait for them."""
    config = Config(modules=config.modules, store=StoreConfig(history=0))
    async with running(make_scheduler, config=config) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        job = await scheduler.submit(mul, "mul", 2, 4, delay=600.0)
        waiting = asyncio.create_task(scheduler.wait(job.id))
        await asyncio.sleep(0)
        assert await job.cancel() is True
        assert (await job).status == "cancelled"
        assert (await waiting).outcome.status == "cancelled"
        with pytest.raises(UnknownJob):
            await job.cancel()
        assert (await scheduler.run(mul, "mul", 2, 4)).value == 8


async def test_an_unknown_job_is_named(make_scheduler):
    """There is nothing to tell, to wait for or to cancel."""
    async with running(make_scheduler) as scheduler:
        for ask in (scheduler.job, scheduler.wait, scheduler.cancel):
            with pytest.raises(UnknownJob, match="no job 'nobody'"):
                await ask("nobody")


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_a_run_that_is_given_up_cancels_its_job(make_scheduler, state):
    """When the task that waits for `run` is cancelled, the job is too, and the task ends as cancelled."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(SPIN)
        delay = 600.0 if state == "queued" else 0.0
        task = asyncio.create_task(scheduler.run(module, "spin", limits=ENDLESS, delay=delay))
        while not (records := await scheduler.jobs(status=state)):  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        record = await scheduler.wait(records[0].job.id)
        assert record.outcome.status == "cancelled"


async def test_a_timeout_around_run_is_a_timeout(make_scheduler):
    """`asyncio.timeout` works as around anything else."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(SPIN)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await scheduler.run(module, "spin", limits=ENDLESS)
        assert (await scheduler.run(module, "mul", 2, 4)).value == 8
