"""Promise 2: a job runs at least once and at most `max_attempts` times; only a lost worker is a reason to run again.

Workers are really killed, with SIGKILL from outside, whatever they are doing.
"""

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest
from watching import ENDLESS, children, running, until, until_running, worker_of

import wasmq
from wasmq.config import configured

# "spin" runs until somebody ends it; "fib" takes some turns and has an answer.
GUEST = """(module
  (func (export "spin") (loop $again (br $again)))
  (func $fib (export "fib") (param $n i32) (result i32)
    (if (result i32) (i32.lt_s (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else (i32.add (call $fib (i32.sub (local.get $n) (i32.const 1)))
                     (call $fib (i32.sub (local.get $n) (i32.const 2))))))))"""


def starve(pid):
    """Let a process have no more address space than it has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), resource.RLIM_INFINITY))


async def kill_attempts(scheduler, job, attempts):
    """Kill the worker of a job each time it runs, that many times; returns the processes killed."""
    killed = []
    for attempt in range(1, attempts + 1):
        await until_running(scheduler, job.id, attempt)
        killed.append(worker_of(scheduler, job.id))
        os.kill(killed[-1], signal.SIGKILL)
    return killed


@pytest.mark.parametrize("kills", [1, 2])
async def test_a_job_whose_worker_died_runs_again(make_scheduler, kills):
    """And gives its answer, with the attempts counted; everything else it was asked stays as it was."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(GUEST)
        job = await scheduler.submit(module, "fib", 37, key="k", tenant="acme", limits=ENDLESS)
        killed = await kill_attempts(scheduler, job, kills)
        outcome = await job
        assert (outcome.status, outcome.value, outcome.attempts) == ("succeeded", 24_157_817, kills + 1)
        assert len(set(killed)) == kills
        assert (await scheduler.submit(module, "fib", 37, key="k", tenant="acme", limits=ENDLESS)).id == job.id
        restarts = f'wasmq_worker_restarts_total{{reason="killed"}} {float(kills)}'
        assert restarts in scheduler.metrics.render().decode().splitlines()


@pytest.mark.parametrize("max_attempts", [1, 2, 3])
async def test_a_job_that_kills_every_worker_is_lost_in_the_end(make_scheduler, max_attempts):
    """It is started just `max_attempts` times, each time in another worker, and the outcome tells why."""
    async with running(make_scheduler, max_attempts=max_attempts) as scheduler:
        module = await scheduler.load(GUEST)
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        killed = await kill_attempts(scheduler, job, max_attempts)
        outcome = await job
        assert (outcome.status, outcome.attempts, outcome.fuel_used) == ("lost", max_attempts, 0)
        assert f"its worker died in each of {max_attempts} attempt" in outcome.error
        assert "killed" in outcome.error
        assert len(set(killed)) == max_attempts
        # There are workers again, and who waits by `run` gets the exception of its own.
        assert (await scheduler.run(module, "fib", 10)).value == 55
        with pytest.raises(wasmq.Lost):
            raise wasmq.errors.error_for(outcome)


async def test_a_worker_without_memory_is_not_the_guests_doing(make_scheduler, config, guests):
    """A job whose worker cannot give it the memory that it may have runs again, in the end in a worker of its own."""
    # Only a worker that is the same user can be starved by who has not every right over it.
    config = configured(config, {"sandbox.without": ("user",), "scheduler.retry_backoff": 0.0})
    async with running(make_scheduler, config=config) as scheduler:
        grow = await scheduler.load(guests / "grow.wat")
        expected = await scheduler.run(grow, "grow", 40)
        starve(*[pid for pid, words in children().items() if "wasmq_worker" in words])
        outcomes = [await (await scheduler.submit(grow, "grow", 40)) for _ in range(5)]
        ends = {(outcome.status, outcome.value, outcome.fuel_used) for outcome in outcomes}
        assert ends == {("succeeded", 1, expected.fuel_used)}
        assert max(outcome.attempts for outcome in outcomes) > 1


async def test_a_job_that_kills_its_worker_takes_no_neighbour_with_it(make_scheduler):
    """Those who were beside it run again and give the right answers; only it is lost, for in the end it runs alone."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(GUEST)
        neighbours = [await scheduler.submit(module, "fib", 27 + number % 3, limits=ENDLESS) for number in range(12)]
        victim = await scheduler.submit(module, "spin", limits=ENDLESS, priority=1)
        await kill_attempts(scheduler, victim, 3)
        assert (await victim).status == "lost"
        outcomes = await asyncio.gather(*neighbours)
        assert [outcome.status for outcome in outcomes] == ["succeeded"] * 12
        assert [outcome.value for outcome in outcomes] == [(196_418, 317_811, 514_229)[n % 3] for n in range(12)]
        assert {outcome.attempts for outcome in outcomes} <= {1, 2, 3}


async def test_a_death_is_not_charged_to_jobs_that_had_no_turn(make_scheduler):
    """The one whose first turn it was is charged, though nobody was told that it had begun, and lost in the end."""
    async with running(make_scheduler, engine="interpreter", quantum=10**9) as scheduler:
        module = await scheduler.load(GUEST)
        killer = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, killer.id)
        await until(lambda: begun(scheduler, killer.id))
        innocents = [await scheduler.submit(module, "fib", 5) for _ in range(100)]
        await until(lambda: scheduler._pool.running == 101)
        os.kill(worker_of(scheduler, killer.id), signal.SIGKILL)
        # Those that are sent out again together with it have their turn behind it, or before it comes.
        for attempt in (2, 3):
            await until_running(scheduler, killer.id, attempt)
            await until(lambda: begun(scheduler, killer.id))
            os.kill(worker_of(scheduler, killer.id), signal.SIGKILL)
        outcome = await killer
        assert (outcome.status, outcome.attempts) == ("lost", 3)
        outcomes = await asyncio.gather(*innocents)
        assert {(outcome.status, outcome.value, outcome.attempts) for outcome in outcomes} == {("succeeded", 5, 1)}


def begun(scheduler, job):
    """Whether a job has begun, by its worker's own record."""
    worker, ticket, _ = scheduler._pool.where(job)
    assert ticket in scheduler._pool._workers[worker].fresh
    return ticket in scheduler._crew._workers[worker].record.read()


async def test_a_job_is_not_returned_uncharged_for_ever(make_scheduler, monkeypatch):
    """When workers die again and again and say that it never began, its attempts count in the end."""
    async with running(make_scheduler, max_attempts=2) as scheduler:
        monkeypatch.setattr(scheduler._pool, "innocent", lambda worker, _: {job.id})
        module = await scheduler.load(GUEST)
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await kill_attempts(scheduler, job, 18)
        outcome = await job
        assert (outcome.status, outcome.attempts) == ("lost", 2)


async def test_several_jobs_on_their_last_attempt_do_not_wait_for_each_other(make_scheduler):
    """Each gets a worker of its own in its turn, also behind one that has just been lost that way."""
    async with running(make_scheduler, max_attempts=2) as scheduler:
        module = await scheduler.load(GUEST)
        jobs = [await scheduler.submit(module, "spin", limits=ENDLESS) for _ in range(3)]
        for job in jobs:
            await until_running(scheduler, job.id)
        os.kill(worker_of(scheduler, jobs[0].id), signal.SIGKILL)
        await until_running(scheduler, jobs[0].id, 2)
        # The shared worker is free meanwhile.
        assert (await scheduler.run(module, "fib", 10)).value == 55
        os.kill(worker_of(scheduler, jobs[0].id), signal.SIGKILL)
        assert (await jobs[0]).status == "lost"
        await until_running(scheduler, jobs[1].id, 2)
        await jobs[1].cancel()
        assert (await jobs[1]).status == "cancelled"
        await until_running(scheduler, jobs[2].id, 2)
        os.kill(worker_of(scheduler, jobs[2].id), signal.SIGKILL)
        assert (await jobs[2]).status == "lost"
        # And later, when no worker for single jobs is there any more.
        late = await scheduler.submit(module, "fib", 37, limits=ENDLESS)
        await kill_attempts(scheduler, late, 1)
        assert (await late).value == 24_157_817


async def test_a_job_that_waits_to_run_alone_can_be_cancelled(make_scheduler):
    """It is with no worker then, and ends all the same."""
    async with running(make_scheduler, max_attempts=2) as scheduler:
        module = await scheduler.load(GUEST)
        jobs = [await scheduler.submit(module, "spin", limits=ENDLESS) for _ in range(4)]
        for job in jobs:
            await until_running(scheduler, job.id)
        os.kill(worker_of(scheduler, jobs[0].id), signal.SIGKILL)
        await until_running(scheduler, jobs[0].id, 2)
        assert [await job.cancel() for job in jobs] == [True] * 4
        assert [(await job).status for job in jobs] == ["cancelled"] * 4


async def test_a_cancelled_job_does_not_run_again(make_scheduler):
    """When its worker dies before it hears of the cancellation, the job is cancelled, not started anew."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(GUEST)
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        worker = worker_of(scheduler, job.id)
        os.kill(worker, signal.SIGSTOP)
        assert await job.cancel() is True
        os.kill(worker, signal.SIGKILL)
        outcome = await job
        assert (outcome.status, outcome.attempts) == ("cancelled", 1)


@pytest.mark.parametrize(
    ("export", "limits", "status"),
    [
        ("trap", wasmq.Limits(), "trapped"),
        ("spin", wasmq.Limits(fuel=10**6), "out_of_fuel"),
        ("spin", wasmq.Limits(fuel=10**12, timeout=0.05), "timed_out"),
        ("grow", wasmq.Limits(memory="1MiB"), "out_of_memory"),
    ],
)
async def test_what_the_guest_did_is_the_answer(make_scheduler, export, limits, status):
    """A trap or a spent limit is final at the first attempt."""
    text = """(module (memory 1)
      (func (export "trap") (unreachable))
      (func (export "spin") (loop $again (br $again)))
      (func (export "grow") (if (i32.eq (memory.grow (i32.const 999)) (i32.const -1)) (then (unreachable)))))"""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(text)
        outcome = await (await scheduler.submit(module, export, limits=limits))
        assert (outcome.status, outcome.attempts) == (status, 1)


async def test_killing_every_worker_again_and_again_loses_nothing(make_scheduler):
    """Many jobs on two workers that are killed several times: each gives its own right answer, and once."""
    async with running(make_scheduler, workers=2, max_attempts=100) as scheduler:
        module = await scheduler.load(GUEST)
        fibs = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181, 6765]
        jobs = [await scheduler.submit(module, "fib", 1 + n % 20, tenant=f"t{n % 3}") for n in range(2_000)]
        for _ in range(4):
            mark = await scheduler.submit(module, "spin", limits=ENDLESS, priority=1)
            await kill_attempts(scheduler, mark, 1)
            await until_running(scheduler, mark.id, 2)
            await mark.cancel()
            assert (await mark).status == "cancelled"
        outcomes = await asyncio.gather(*jobs)
        assert [outcome.status for outcome in outcomes] == ["succeeded"] * 2_000
        assert [outcome.value for outcome in outcomes] == [fibs[n % 20] for n in range(2_000)]
        text = scheduler.metrics.render().decode()
        finished = sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("wasmq_jobs_finished"))
        assert finished == 2_004
        assert 'wasmq_jobs{state="running"} 0.0' in text
