"""Estimates of a running scheduler, in this process and over HTTP: from history, from the queue, or honestly none."""

import pytest
from clocks import NOON, VirtualClock
from watching import ENDLESS, running, until_running

import wasmq
from wasmq.config import StoreConfig, configured
from wasmq.deadlines import Deadlines
from wasmq.estimate import MARGIN, Estimator
from wasmq.fairness import Fairness
from wasmq.job import Call, Caps, Job, Outcome
from wasmq.pace import NOMINAL
from wasmq.store import open_store


async def test_a_cap_follows_from_what_calls_have_used(make_scheduler, guests):
    """The percentiles are of the fuel that was billed; the cap is the 99th, half as much again."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        none = await scheduler.estimate(loop, "burn")
        assert (none.outcomes, none.fuel_p99, none.fuel_cap, none.run) == (0, None, None, None)
        assert none.start == 0.0
        outcomes = [outcome async for outcome in scheduler.map(loop, "burn", [(n,) for n in range(1, 101)])]
        used = sorted(outcome.fuel_used for outcome in outcomes)
        found = await scheduler.estimate(loop.digest, "burn")
        assert (found.module, found.export) == (loop.digest, "burn")
        assert (found.outcomes, found.out_of_fuel) == (100, 0)
        assert (found.fuel_p50, found.fuel_p99, found.fuel_max) == (used[49], used[98], used[99])
        assert found.margin == MARGIN
        assert used[98] * 1.5 <= found.fuel_cap < used[98] * 1.5 + 1
        assert found.run == sorted(outcome.ran for outcome in outcomes)[49]
        assert (await scheduler.run(loop, "burn", 99, limits=wasmq.Limits(fuel=found.fuel_cap))).status == "succeeded"
        assert (await scheduler.estimate(loop, "burn", tenant="acme")).outcomes == 0


async def test_jobs_that_ran_out_of_fuel_are_told_of(make_scheduler, config, guests):
    """A cap that follows from them may be too low, and none above the ceiling is suggested."""
    overrides = {"limits.fuel": 1_000, "limits.max.fuel": 1_000}
    async with running(make_scheduler, config=configured(config, overrides)) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        with pytest.raises(wasmq.OutOfFuel):
            await scheduler.run(loop, "spin")
        found = await scheduler.estimate(loop, "spin")
        assert (found.outcomes, found.out_of_fuel, found.fuel_max, found.fuel_cap) == (1, 1, 1_000, 1_000)


async def test_a_tenant_with_much_ahead_of_it_waits_longer(make_scheduler, guests):
    """The time to start counts what the tenant itself has queued, at the pace that was learned."""
    async with running(make_scheduler, instances=1) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        spin = await scheduler.submit(loop, "spin", limits=ENDLESS)
        await until_running(scheduler, spin.id)
        jobs = [await scheduler.submit(loop, "spin", tenant="busy", limits=ENDLESS) for _ in range(10)]
        busy, idle = [await scheduler.estimate(loop, "spin", tenant=name) for name in ("busy", "idle")]
        assert busy.start > idle.start
        for job in (spin, *jobs):
            await job.cancel()


async def test_an_estimate_of_nothing(make_scheduler, guests):
    """A module that is not there, an export that it does not have or that is no function."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        with pytest.raises(wasmq.UnknownModule):
            await scheduler.estimate("0" * 64, "burn")
        with pytest.raises(wasmq.UnknownExport, match="nothing"):
            await scheduler.estimate(loop, "nothing")
        with pytest.raises(wasmq.UnknownExport):
            await scheduler.estimate(loop)


async def test_history_survives_a_restart(make_scheduler, guests, tmp_path):
    """On a durable store a new scheduler knows what the last one has seen."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    async with running(make_scheduler, store=url) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        fuel = (await scheduler.run(mul, "mul", 2, 4)).fuel_used
    async with running(make_scheduler, store=url) as scheduler:
        # It is read beside the start, a page at a time.
        while (found := await scheduler.estimate(mul.digest, "mul")).outcomes == 0:
            await scheduler.jobs()
        assert (found.outcomes, found.fuel_max) == (1, fuel)


SECOND = NOMINAL["native"]


def a_job(name, after, seconds=1.0, tenant="acme"):
    """A job of one second's fuel, to be done so many seconds after noon."""
    call, caps = Call("m", "f"), Caps(10**12, 1, 60.0, 1)
    return Job(name, call, caps, tenant, 0, None, NOON, NOON, 0.0, seconds * SECOND, deadline=NOON + after)


def test_a_deadline_waits_for_earlier_ones_alone():
    """Its tenant's other jobs do not go before it; of the other tenants' what they get meanwhile by their weights."""
    fairness, deadlines = Fairness(1.0), Deadlines()
    store = open_store("memory://", StoreConfig(), VirtualClock())
    estimator = Estimator(engine="native", workers=2, fairness=fairness, store=store, deadlines=deadlines)
    for _ in range(10):
        fairness.tag("acme", 1.0, SECOND)
    assert estimator.done_in(a_job("a", 100), 0.0) == (0.0, 1.0)
    assert estimator.start("acme") == 5.0
    for name, after in (("b", 10), ("c", 20), ("d", 300)):
        job = a_job(name, after, seconds=2.0)
        fairness.tag("acme", 1.0, job.cost)
        deadlines.watch(job, now=0.0, wall=NOON)
    assert estimator.done_in(a_job("a", 100), 0.0)[0] == 2.0
    assert estimator.done_in(a_job("a", 5), 0.0)[0] == 0.0
    fairness.tag("other", 1.0, 100 * SECOND)
    assert estimator.done_in(a_job("a", 100), 0.0)[0] == 4.0
    assert estimator.done_in(a_job("x", 100, tenant="third"), 0.0)[0] == 0.0
    # What comes in the same batch goes before it too, and it runs as long as such calls have run.
    estimator.learn(a_job("z", 1), Outcome(status="succeeded", fuel_used=1, ran=7.0))
    assert estimator.done_in(a_job("x", 100, tenant="third"), 4 * SECOND) == (2.0, 1.0)
    assert estimator.done_in(a_job("a", 5), 0.0) == (0.0, 7.0)
