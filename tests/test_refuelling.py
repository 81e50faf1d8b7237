"""Jobs that have spent their fuel: suspended, refuelled or given up; result and bill are the same, come what may."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from itertools import count
from pathlib import Path

import pytest
from clocks import VirtualClock
from hypothesis import given
from hypothesis import strategies as st
from watching import running, sample, until, until_running, worker_of

import wasmq
from wasmq.config import LimitCeilings, LimitsConfig, load_config
from wasmq.job import Call, Caps, Job
from wasmq.refuelling import Suspensions

GUESTS = Path(__file__).parent.parent / "workers" / "guests"
COMPONENT = """(component
  (core module $m (memory (export "memory") 1)
    (func (export "text") (param i32) (result i32) (local $i i32)
      (loop $again (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get 0))))
      (i32.store (i32.const 8) (i32.const 64)) (i32.store (i32.const 12) (i32.const 3)) (i32.const 8))
    (func (export "after") (param i32) (local $i i32)
      (loop $again (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 700)))))
    (data (i32.const 64) "abc"))
  (core instance $i (instantiate $m))
  (func (export "text") (param "n" u32) (result string)
    (canon lift (core func $i "text") (memory (core memory $i "memory")) (post-return (core func $i "after")))))"""
SHARED = """(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $made (mut i32) (i32.const 800))
  (func $start
    (loop $again (global.set $made (i32.sub (global.get $made) (i32.const 1))) (br_if $again (global.get $made))))
  (start $start)
  (func (export "draw") (result i32) (drop (call $random (i32.const 0) (i32.const 3000))) (i32.const 1)))"""
USER = """(module
  (import "env" "draw" (func $draw (result i32)))
  (func (export "draws") (param $n i32) (result i32) (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (i32.add (call $draw) (call $draw))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))"""


def job_of(name: str, suspend: float = 60.0) -> Job:
    """A job that is suspended for so long."""
    caps = Caps(1_000, 65_536, 1.0, 100, suspend=suspend)
    return Job(name, Call("m", "f"), caps, "default", 0, None, 0.0, 0.0, 0.0, 1.0, attempt=1)


async def fed(scheduler, grants, module, export=None, *args, **options):
    """Run a job that is refuelled each time that it is suspended; returns its outcome and what it may spend in all."""
    total = next(grants)
    limits = wasmq.Limits(fuel=total, timeout=30.0)
    job = await scheduler.submit(module, export, *args, limits=limits, on_exhausted="suspend", **options)
    async for event in job.events():
        if isinstance(event, wasmq.JobSuspended):
            assert event.fuel_used == total
            more = next(grants)
            assert await job.refuel(more) == total + more
            total += more
    return await job, total


def pieces(total, seed):
    """Random grants that come to the total some time."""
    dice = random.Random(seed)
    return (dice.randint(1, max(1, total // 4)) for _ in count())


async def until_suspended(scheduler, job):
    """Return once a job waits to be refuelled."""
    async for event in scheduler.events(job):
        if isinstance(event, wasmq.JobSuspended):
            return


async def suspended(scheduler, *, fuel=1_000, **options):
    """A job that never ends, suspended."""
    loop = await scheduler.load(GUESTS / "loop.wat")
    limits = wasmq.Limits(fuel=fuel, timeout=60.0, suspend=options.pop("suspend", None))
    job = await scheduler.submit(loop, "spin", limits=limits, on_exhausted="suspend", **options)
    await until_suspended(scheduler, job.id)
    return job


# Runs in pieces.


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_all_kinds_of_guests_go_on_where_they_were(make_scheduler, engine):
    """Modules, programs, components, and linked modules end the same and cost the same as with all fuel at once."""
    async with running(make_scheduler, engine=engine, quantum=1_000) as scheduler:
        hello = await scheduler.load(GUESTS / "wasi" / "hello.wasm")
        world = {"argv": ["a"], "env": {"NAME": "x"}, "stdin": b"abc", "deterministic": True}
        shared = await scheduler.load(SHARED)
        command = await scheduler.load(GUESTS / "components" / "hello.wasm")
        for module, export, args, options in (
            (await scheduler.load(GUESTS / "fib.wat"), "fib", (16,), {}),
            (hello, None, (), world),
            (await scheduler.load(COMPONENT), "text", (900,), {}),
            (command, None, (), {"argv": ["a"], "deterministic": True}),
            (await scheduler.load(USER), "draws", (4,), {"link": {"env": shared}}),
        ):
            free = await (await scheduler.submit(module, export, *args, **options))
            for seed in range(3):
                outcome, total = await fed(scheduler, pieces(free.fuel_used, seed), module, export, *args, **options)
                for name in ("status", "value", "memory_peak", "stdout", "stderr", "exit_code", "error"):
                    assert getattr(outcome, name) == getattr(free, name)
                assert outcome.fuel_used == min(free.fuel_used, total)


async def test_a_host_function_is_called_once_for_each_call(make_scheduler):
    """A guest that cannot pay for its calls makes each of them once, when it can, and they cost what they cost."""
    asked = []
    async with running(make_scheduler) as scheduler:

        @scheduler.host_function("env", "ask", price=500, tenants="*")
        async def ask(number: wasmq.i32) -> wasmq.i32:
            asked.append(number)
            return number + 1

        module = await scheduler.load(
            """(module (import "env" "ask" (func $ask (param i32) (result i32)))
              (func (export "f") (param i32) (result i32)
                (call $ask (call $ask (call $ask (call $ask (local.get 0)))))))"""
        )
        free = await scheduler.run(module, "f", 1)
        asked.clear()
        outcome, _ = await fed(scheduler, iter([*[100] * 100]), module, "f", 1)
        assert (outcome.value, outcome.fuel_used) == (5, free.fuel_used)
        assert asked == [1, 2, 3, 4]


# What is told.


async def test_what_happens_is_told(make_scheduler, capsys):
    """States, events, metrics and records say that a job is suspended, what it has spent, and that it goes on."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(GUESTS / "loop.wat")
        limits = wasmq.Limits(fuel=10_000)
        job = await scheduler.submit(loop, "burn", 30_000, limits=limits, on_exhausted="suspend")
        events = []
        async for event in job.events():
            events.append(event)
            if isinstance(event, wasmq.JobSuspended):
                record = await scheduler.job(job.id)
                assert (record.state, record.suspended, record.fuel_spent) == ("running", True, 10_000)
                assert [(each.id, each.suspended) for each in await scheduler.jobs()] == [(job.id, True)]
                await until(lambda: sample(scheduler, 'wasmq_instances{state="suspended"}') == 1)
                assert await job.refuel(90_000) == 100_000
        told = [event for event in events if not isinstance(event, wasmq.JobProgress | wasmq.JobFinished)]
        assert told[-3:] == [wasmq.JobStarted(1), wasmq.JobSuspended(1, 10_000), wasmq.JobRefuelled(1, 100_000)]
        assert (await job).fuel_used == (await scheduler.run(loop, "burn", 30_000)).fuel_used
        record = await scheduler.job(job.id)
        assert (record.state, record.suspended, record.fuel_spent) == ("finished", False, None)
        assert sample(scheduler, 'wasmq_refuels_total{tenant="default"}') == 1


async def test_what_a_running_job_has_spent_is_seen(make_scheduler):
    """Asked for, a job that runs says what it has spent: more each time, and never more than its cap."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(GUESTS / "loop.wat")
        job = await scheduler.submit(loop, "spin", limits=wasmq.Limits(fuel=10**12, timeout=60.0))
        await until_running(scheduler, job.id)
        seen = [0]
        while len(seen) < 4:
            record = await scheduler.job(job.id)
            assert not record.suspended
            if record.fuel_spent is not None and record.fuel_spent != seen[-1]:
                seen.append(record.fuel_spent)
        assert seen == sorted(seen)
        await job.cancel()
        assert (await job).fuel_used >= seen[-1]


async def test_who_comes_late_is_told_too(make_scheduler):
    """One who begins to watch a suspended job hears first that it is."""
    async with running(make_scheduler) as scheduler:
        job = await suspended(scheduler)
        events = scheduler.events(job.id)
        heard = []
        async for event in events:
            heard.append(event)
            if isinstance(event, wasmq.JobSuspended):
                break
        await events.aclose()
        assert heard[0] == wasmq.JobStarted(1)
        assert heard[-1] == wasmq.JobSuspended(1, 1_000)


# Given up.


@given(st.lists(st.tuples(st.sampled_from(["add", "drop", "due"]), st.integers(0, 5), st.integers(0, 50))))
def test_each_job_is_given_up_when_its_time_is_over_and_once(steps):
    """Against the plainest books: a job's own time, counted from when it was suspended last."""
    suspensions, books, now = Suspensions(), {}, 0.0
    for what, number, amount in steps:
        name = str(number)
        if what == "add":
            suspensions.add(job_of(name, suspend=float(amount + 1)), now)
            books[name] = now + amount + 1
        elif what == "drop":
            suspensions.drop(name)
            books.pop(name, None)
        else:
            now += amount
            over = sorted(name for name, until in books.items() if until <= now)
            assert sorted(job.id for job in suspensions.due(now)) == over
            for name in over:
                del books[name]
        assert suspensions.next() == min(books.values(), default=None)


async def test_a_job_that_nobody_refuels_is_given_up(make_scheduler):
    """When its time is over, not before, it ends out of fuel and is billed its cap, with the reason in its line."""
    clock = VirtualClock()
    async with running(make_scheduler, clock=clock) as scheduler:
        job = await suspended(scheduler, suspend=30.0)
        clock.now += 29.9
        scheduler._refuelling.tick()
        assert await job.refuel(500) == 1_500
        await until_suspended(scheduler, job.id)
        clock.now += 29.9
        assert scheduler._refuelling.tick() == pytest.approx(0.1)
        assert (await scheduler.job(job.id)).suspended
        clock.now += 0.2
        scheduler._refuelling.tick()
        outcome = await job
        assert (outcome.status, outcome.fuel_used) == ("out_of_fuel", 1_500)
        assert outcome.error == "out of fuel: spent all 1500 units, and nobody refuelled it within 30 s"
        assert scheduler._refuelling.tick() is None


async def test_a_job_that_has_been_given_up_is_not_refuelled(make_scheduler):
    """Fuel that comes while the job ends is refused, not taken for nothing."""
    clock = VirtualClock()
    async with running(make_scheduler, clock=clock) as scheduler:
        job = await suspended(scheduler)
        clock.now += 61.0
        scheduler._refuelling.tick()
        with pytest.raises(wasmq.NotRefuellable, match=r"given up|ended already"):
            await job.refuel(500)
        assert (await job).fuel_used == 1_000


async def test_no_more_wait_than_may(make_scheduler, config):
    """Beyond `[scheduler] suspended` a job ends at once, and its line says why."""
    few = load_config(environ={}, overrides={"scheduler.suspended": 1, "modules.directory": config.modules.directory})
    async with running(make_scheduler, config=few) as scheduler:
        await suspended(scheduler)
        loop = await scheduler.load(GUESTS / "loop.wat")
        limits = wasmq.Limits(fuel=1_000)
        outcome = await (await scheduler.submit(loop, "spin", limits=limits, on_exhausted="suspend"))
        assert (outcome.status, outcome.fuel_used) == ("out_of_fuel", 1_000)
        assert "[scheduler] suspended" in outcome.error


# Refused.


async def test_what_cannot_be_refuelled_is_refused(make_scheduler):
    """Unknown, queued and finished jobs, jobs that end when their fuel is spent, amounts that are none."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(GUESTS / "loop.wat")
        with pytest.raises(wasmq.UnknownJob):
            await scheduler.refuel("nobody", 1)
        later = await scheduler.submit(loop, "burn", 1, delay=3600.0, on_exhausted="suspend")
        with pytest.raises(wasmq.NotRefuellable, match=r"it is queued"):
            await later.refuel(1)
        stops = await scheduler.submit(loop, "spin", limits=wasmq.Limits(fuel=10**12, timeout=60.0))
        await until_running(scheduler, stops.id)
        with pytest.raises(wasmq.NotRefuellable, match=r"on_exhausted='suspend'"):
            await stops.refuel(1)
        await stops.cancel()
        await stops
        with pytest.raises(wasmq.NotRefuellable, match=r"ended already, as cancelled"):
            await stops.refuel(1)
        job = await suspended(scheduler)
        for amount in (0, -1, 1.5, True, "7", None):
            with pytest.raises(wasmq.InvalidLimit, match=r"^fuel: "):
                await job.refuel(amount)
        with pytest.raises(wasmq.LimitTooHigh, match=r"limits\.max\.fuel"):
            await job.refuel(10**12)
        assert (await scheduler.job(job.id)).fuel_spent == 1_000


async def test_what_cannot_be_suspended_so_is_refused(make_scheduler):
    """A word that is none, a time without a suspension, and one above the ceiling never reach the queue."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(GUESTS / "loop.wat")
        for limits, on_exhausted, error, line in (
            (None, "wait", wasmq.InvalidArguments, "on_exhausted: 'wait' (str) is neither 'stop' nor 'suspend'"),
            (wasmq.Limits(suspend=1.0), "stop", wasmq.InvalidLimit, "suspend: it is for a job with on_exhausted="),
            (wasmq.Limits(suspend=0.0), "suspend", wasmq.InvalidLimit, "suspend: 0 s"),
            (wasmq.Limits(suspend=3601.0), "suspend", wasmq.LimitTooHigh, "suspend: 3601 s is above"),
        ):
            with pytest.raises(error) as caught:
                await scheduler.submit(loop, "spin", limits=limits, on_exhausted=on_exhausted)
            assert str(caught.value).startswith(line)
        assert not await scheduler.jobs()


def test_a_default_above_its_ceiling_is_refused():
    """The configuration cannot promise more than it allows."""
    assert LimitsConfig().suspend <= LimitCeilings().suspend
    with pytest.raises(wasmq.ConfigError, match=r"limits\.suspend is above limits\.max\.suspend"):
        load_config(environ={}, overrides={"limits.suspend": 7200.0})


# Races.


async def test_many_refuel_at_once(make_scheduler, config):
    """Every grant counts once; together they never go above the ceiling, and the bill follows."""
    low = load_config(
        environ={},
        overrides={
            "limits.fuel": 1_000,
            "limits.max.fuel": 100_000,
            "modules.directory": config.modules.directory,
        },
    )
    async with running(make_scheduler, config=low) as scheduler:
        job = await suspended(scheduler, suspend=600.0)
        results = await asyncio.gather(*[job.refuel(10_000) for _ in range(20)], return_exceptions=True)
        taken = [total for total in results if isinstance(total, int)]
        assert sorted(taken) == [1_000 + 10_000 * n for n in range(1, 10)]
        assert {type(each) for each in results if not isinstance(each, int)} == {wasmq.LimitTooHigh}
        await until_suspended(scheduler, job.id)
        await until(lambda: scheduler._pool.is_suspended(job.id))
        await job.cancel()
        assert (await job).fuel_used <= 91_000


async def test_it_may_end_while_it_is_refuelled(make_scheduler):
    """Whichever comes first, the job ends once, well, and for its own bill."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(GUESTS / "loop.wat")
        for burn in range(900, 1_100, 20):
            free = (await scheduler.run(loop, "burn", burn)).fuel_used
            limits = wasmq.Limits(fuel=1_000)
            job = await scheduler.submit(loop, "burn", burn, limits=limits, on_exhausted="suspend")
            while True:
                try:
                    await job.refuel(10)
                except wasmq.NotRefuellable:
                    if job.outcome is not None:
                        break
                    await asyncio.sleep(0)
            outcome = await job
            # A cap in its last straight stretch of code lets it finish, charged at that cap.
            assert outcome.status == "succeeded"
            assert outcome.fuel_used in (free, *range(1_000, free, 10))


async def test_a_suspended_job_is_cancelled_at_once(make_scheduler):
    """Its bill is what it had spent, and what comes after is refused."""
    async with running(make_scheduler) as scheduler:
        job = await suspended(scheduler)
        assert await job.cancel()
        outcome = await job
        assert (outcome.status, outcome.fuel_used) == ("cancelled", 1_000)
        with pytest.raises(wasmq.NotRefuellable):
            await job.refuel(1)
        assert scheduler._refuelling.tick() is None


async def test_one_who_goes_away_while_refuelling_leaves_nothing_half_done(make_scheduler):
    """What the store has recorded reaches the worker, also when nobody waits for it any more."""
    async with running(make_scheduler) as scheduler:
        job = await suspended(scheduler)
        task = asyncio.create_task(job.refuel(9_000))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        record = await scheduler.job(job.id)
        while record.job.refuelled and record.fuel_spent != 10_000:
            record = await scheduler.job(job.id)
        assert record.job.fuel == record.fuel_spent


async def test_the_death_of_its_worker_is_an_attempt_like_any_other(make_scheduler):
    """It starts again from the beginning, with the cap that it was raised to, and is suspended there."""
    async with running(make_scheduler, max_attempts=3) as scheduler:
        job = await suspended(scheduler)
        await job.refuel(4_000)
        await until(lambda: scheduler._pool.is_suspended(job.id))
        os.kill(worker_of(scheduler, job.id), signal.SIGKILL)
        await until_running(scheduler, job.id, attempt=2)
        await until(lambda: scheduler._pool.is_suspended(job.id))
        record = await scheduler.job(job.id)
        assert (record.attempts, record.fuel_spent) == (2, 5_000)
        assert await job.refuel(1_000) == 6_000
        await until(lambda: scheduler._pool.is_suspended(job.id))
        await job.cancel()
        outcome = await job
        assert (outcome.status, outcome.attempts, outcome.fuel_used) == ("cancelled", 2, 6_000)


async def test_fuel_that_an_account_lacks_is_refused(make_scheduler):
    """A refuel is reserved like a start: refused where the account has not so much, and freed when the job ends."""
    tenants = {"acme": wasmq.Tenant(fuel_budget=10_000)}
    async with running(make_scheduler, tenants=tenants) as scheduler:
        job = await suspended(scheduler, tenant="acme")
        assert await job.refuel(4_000) == 5_000
        with pytest.raises(wasmq.BudgetExhausted, match=rf"^job {job.id}: "):
            await job.refuel(6_000)
        assert (await scheduler.account("acme")).reserved == 5_000
        await until(lambda: scheduler._pool.is_suspended(job.id))
        await job.cancel()
        await job
        account = await scheduler.account("acme")
        assert (account.spent, account.reserved, account.free) == (5_000, 0, 5_000)


@pytest.fixture(params=["sqlite", "postgres"])
def durable_url(request, tmp_path):
    """A store in which jobs outlive their scheduler."""
    return f"sqlite:///{tmp_path}/jobs.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


async def test_a_stop_does_not_wait_for_what_nobody_can_refuel(make_scheduler, config, durable_url):
    """A durable store gets the job back uncharged, with its raised cap; the next scheduler runs it to its end."""
    url = durable_url
    async with running(make_scheduler, store=url, config=config, grace=600.0) as scheduler:
        job = await suspended(scheduler, suspend=600.0, key="k")
        await job.refuel(4_000)
        await until(lambda: scheduler._pool.is_suspended(job.id))
    async with running(make_scheduler, store=url, config=config) as scheduler:
        await until(lambda: scheduler._pool.is_suspended(job.id))
        record = await scheduler.job(job.id)
        assert (record.state, record.attempts, record.fuel_spent) == ("running", 1, 5_000)
        again = await suspended(scheduler, suspend=600.0, key="k")
        assert again.id == job.id
        await again.cancel()
        assert (await again).fuel_used == 5_000
