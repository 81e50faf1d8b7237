"""Promise 3: at most one outcome is recorded for a job; a late one is refused by its attempt number."""

import asyncio
import os
import signal

import pytest
from watching import ENDLESS, running, until, until_running, worker_of, workers

from wasmq.settle import Died, Ran
from wasmq_worker.protocol import Ended, Outcomes, ProtocolError

SPIN = """(module (func (export "spin") (loop $again (br $again)))
                  (func (export "answer") (result i32) (i32.const 42)))"""


def finished(scheduler):
    """How many jobs have been counted as finished."""
    text = scheduler.metrics.render().decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("wasmq_jobs_finished_total{"))


async def test_an_outcome_of_an_earlier_attempt_comes_too_late(make_scheduler):
    """What a worker says of an attempt that was given up on changes nothing: not the job, not the bill, not a count."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(SPIN)
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        first = (await scheduler.job(job.id)).job
        os.kill(worker_of(scheduler, job.id), signal.SIGKILL)
        await until_running(scheduler, job.id, 2)
        scheduler._settler.add([Ran(first, 0.0, Ended(1, "succeeded", (7,), 1_000), "1")])
        await scheduler.run(module, "answer")
        assert job.outcome is None
        assert (await scheduler.job(job.id)).state == "running"
        assert finished(scheduler) == 1.0
        await job.cancel()
        outcome = await job
        assert (outcome.status, outcome.attempts) == ("cancelled", 2)
        scheduler._settler.add([Ran(first, 0.0, Ended(1, "succeeded", (7,), 1_000), "1")])
        await scheduler.run(module, "answer")
        assert (await scheduler.job(job.id)).outcome == outcome
        assert finished(scheduler) == 3.0


async def test_a_death_that_comes_with_an_outcome_does_not_undo_it(make_scheduler):
    """An outcome and the end of its worker reported together: the job is finished, and is not run again."""
    async with running(make_scheduler, grace=0.0) as scheduler:
        module = await scheduler.load(SPIN)
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        current = (await scheduler.job(job.id)).job
        scheduler._settler.add([Ran(current, 0.0, Ended(1, "trapped", error="trapped: x"), "1")])
        assert (await job).status == "trapped"
        scheduler._settler.add([Died(current, "killed")])
        await scheduler.run(module, "answer")
        record = await scheduler.job(job.id)
        assert (record.state, record.outcome.status, record.attempts) == ("finished", "trapped", 1)


async def test_a_worker_that_speaks_of_jobs_it_does_not_have_is_replaced(make_scheduler):
    """Its words are not taken for any job's outcome, and what it had runs again elsewhere."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(SPIN)
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        overseer = scheduler._crew._overseer
        with pytest.raises(ProtocolError):
            overseer.said(1, Outcomes([Ended(99, "succeeded", (1,))]))
        pid = worker_of(scheduler, job.id)
        channel = scheduler._crew._workers[1].channel
        nonsense = b"\x05\0\0\0hello"
        channel.get_buffer(-1)[: len(nonsense)] = nonsense
        channel.buffer_updated(len(nonsense))
        await until_running(scheduler, job.id, 2)
        await until(lambda: pid not in workers())
        assert 'wasmq_worker_restarts_total{reason="protocol"} 1.0' in scheduler.metrics.render().decode()
        await job.cancel()
        assert (await job).status == "cancelled"


async def test_everyone_who_waits_sees_the_same_outcome(make_scheduler):
    """Handles, waiting by id, the same key: one outcome for all, also when cancellations race with the end."""
    async with running(make_scheduler, workers=2) as scheduler:
        module = await scheduler.load(SPIN)
        handles = [await scheduler.submit(module, "answer", key=f"k{n}") for n in range(200)]
        again = [await scheduler.submit(module, "answer", key=f"k{n}") for n in range(200)]
        waits = [asyncio.create_task(scheduler.wait(handle.id)) for handle in handles]
        cancels = await asyncio.gather(*(handle.cancel() for handle in handles[::2]))
        outcomes = await asyncio.gather(*handles)
        assert await asyncio.gather(*again) == outcomes
        assert [record.outcome for record in await asyncio.gather(*waits)] == outcomes
        assert {outcome.status for outcome in outcomes[1::2]} == {"succeeded"}
        for cancelled, outcome in zip(cancels, outcomes[::2], strict=True):
            assert cancelled or outcome.status == "succeeded"
        assert finished(scheduler) == 200.0
