"""Retries come later each time, and not all at once."""

import os
import random
import signal
import time

import msgspec
from clocks import NOON
from hypothesis import given
from hypothesis import strategies as st
from watching import ENDLESS, running, until, until_running, worker_of

from wasmq.backoff import Backoff
from wasmq.job import Call, Caps, Job

JOB = Job("id", Call("m", "f"), Caps(1, 1, 1.0, 1), "default", 0, None, NOON, NOON, 0.0, 1.0, attempt=1)


class Highest(random.Random):
    """Chance that always comes out highest."""

    def randint(self, a, b):
        return b


@given(st.integers(1, 200), st.floats(0, 100), st.floats(0, 100), st.integers())
def test_a_pause_stays_within_its_bounds(attempts, first, most, seed):
    """Never negative, never above the maximum, never above what the attempts make it."""
    pause = Backoff(first, most, random.Random(seed)).pause(attempts)
    assert 0 <= pause <= min(most, first * 2.0 ** (attempts - 1))


def test_the_bound_doubles_with_each_attempt_up_to_the_maximum():
    """0.1, 0.2, 0.4 seconds and so on, until the maximum; the number of attempts never overflows it."""
    backoff = Backoff(0.1, 1.0, Highest())
    assert [backoff.pause(attempts) for attempts in (1, 2, 3, 4, 5, 10_000)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_the_same_seed_draws_the_same_pauses():
    """Chance comes from the generator that was handed in, and from nowhere else."""
    first, second = (Backoff(0.1, 10.0, random.Random(7)) for _ in range(2))
    drawn = [first.pause(attempts) for attempts in range(1, 30)]
    assert drawn == [second.pause(attempts) for attempts in range(1, 30)]
    assert len(set(drawn)) > 10


def test_a_crowd_is_spread_into_few_groups():
    """Every job is in one of them; starts that did not count do not make it wait longer."""
    jobs = [msgspec.structs.replace(JOB, id=str(number), attempt=5, returned=4) for number in range(1000)]
    groups = Backoff(0.1, 10.0, random.Random(1)).spread(jobs)
    assert sorted(job.id for group in groups.values() for job in group) == sorted(job.id for job in jobs)
    assert 10 < len(groups) <= 17
    assert 0 <= min(groups) < max(groups) <= 0.1


async def test_a_job_waits_whose_worker_died(make_scheduler):
    """It is queued for later, while others run in the new worker at once, and it can be cancelled."""
    async with running(make_scheduler) as scheduler:
        scheduler._settler._backoff = Backoff(3600.0, 3600.0, Highest())
        module = await scheduler.load('(module (func (export "spin") (loop $again (br $again))) (func (export "f")))')
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        os.kill(worker_of(scheduler, job.id), signal.SIGKILL)
        await until(lambda: scheduler._store.counts() == {"queued": 1, "running": 0})
        due = await scheduler._store.next_due(time.time())
        assert 3500.0 < due - time.time() <= 3600.0
        assert (await scheduler.run(module, "f")).status == "succeeded"
        assert await job.cancel()
        assert (await job).status == "cancelled"


async def test_a_job_that_was_handed_back_does_not_wait(make_scheduler):
    """Nothing was wrong with it: it runs again as soon as there is room, and the start does not count."""
    async with running(make_scheduler) as scheduler:
        scheduler._settler._backoff = Backoff(3600.0, 3600.0, Highest())
        module = await scheduler.load('(module (func (export "spin") (loop $again (br $again))))')
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        record = await scheduler.job(job.id)
        await scheduler._settler._hand_back([record.job])
        assert await scheduler._store.next_due(time.time()) is None
        assert (await scheduler.job(job.id)).attempts == 0
