"""Jobs that one daemon runs and another refuels: the fuel is reserved once, arrives, and the books balance."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from clocks import VirtualClock
from watching import PATIENCE, running, until

import wasmq
from wasmq.config import Config, LimitCeilings, LimitsConfig, ModulesConfig, StoreConfig
from wasmq.errors import LimitTooHigh
from wasmq.watch import Watcher

BUDGET = 10**9
TENANTS = {"acme": wasmq.Tenant(fuel_budget=BUDGET)}
LIMITS = wasmq.Limits(fuel=1_000, timeout=60.0, suspend=60.0)


@pytest.fixture
def make_daemon(postgres_url, cache):
    """How one of several daemons is made."""

    def make(*, limits=None, **options):
        config = Config(
            modules=ModulesConfig(directory=str(cache)),
            limits=limits or LimitsConfig(),
            store=StoreConfig(timeout=20.0),
        )
        return wasmq.Scheduler(**{"workers": 1, "store": postgres_url, "config": config, "tenants": TENANTS} | options)

    return make


@asynccontextmanager
async def two(make_daemon, **options):
    """Two daemons of one store, each of which knows that there is another."""
    async with running(make_daemon, **options) as one, running(make_daemon, **options) as other:
        await until(lambda: one._store._lease.others and other._store._lease.others)
        yield one, other


async def suspended(daemons, loop, export="spin", *args, limits=LIMITS):
    """A suspended job, the daemon that runs it, and the other one."""
    job = await daemons[0].submit(loop, export, *args, tenant="acme", limits=limits, on_exhausted="suspend")
    await until(lambda: any(daemon._pool.is_suspended(job.id) for daemon in daemons))
    runs, other = daemons if daemons[0]._pool.holds(job.id) else reversed(daemons)
    return job.id, runs, other


async def figures(daemon):
    """What the account says: spent and reserved; and that it balances."""
    account = await daemon.account("acme")
    assert account.granted == account.spent + account.reserved + account.free == BUDGET
    return account.spent, account.reserved


async def test_a_job_goes_on_with_fuel_from_another_daemon(make_daemon, guests):
    """Suspended or not: what it gets is reserved where it is asked for, arrives, and the bill is that of one run."""
    async with two(make_daemon) as daemons:
        loop = await daemons[0].load(guests / "loop.wat")
        whole = (await daemons[0].run(loop, "burn", 5_000)).fuel_used
        job, runs, other = await suspended(daemons, loop, "burn", 5_000)
        assert await other.refuel(job, 1_000) == 2_000
        assert await figures(runs) == (0, 2_000)
        await until(lambda: runs._pool.where(job)[2].fuel == 2_000 and runs._pool.is_suspended(job))
        # The daemon's own refuel and the other's come on top of each other.
        assert await runs.refuel(job, 500) == 2_500
        await until(lambda: runs._pool.is_suspended(job))
        assert await other.refuel(job, whole) == 2_500 + whole
        async with asyncio.timeout(PATIENCE):
            outcome = (await other.wait(job)).outcome
        assert (outcome.status, outcome.fuel_used, outcome.attempts) == ("succeeded", whole, 1)
        assert outcome.receipt.limits["fuel"] == 2_500 + whole
        assert await figures(other) == (whole, 0)
        assert await runs._store.raised() == []


async def test_what_cannot_be_refuelled_from_elsewhere_is_refused(make_daemon, guests):
    """And reserves nothing: amounts that are none, too much for the job or its account, jobs that have ended."""
    async with two(make_daemon) as daemons:
        loop = await daemons[0].load(guests / "loop.wat")
        job, runs, other = await suspended(daemons, loop)
        with pytest.raises(wasmq.InvalidLimit):
            await other.refuel(job, 0)
        with pytest.raises(wasmq.LimitTooHigh, match=r"limits\.max\.fuel"):
            await other.refuel(job, 10**12)
        with pytest.raises(wasmq.BudgetExhausted, match=f"^job {job}: "):
            await other.refuel(job, BUDGET)
        assert await figures(other) == (0, 1_000)
        assert runs._pool.is_suspended(job)
        await other.cancel(job)
        async with asyncio.timeout(PATIENCE):
            await other.wait(job)
        for daemon in daemons:
            with pytest.raises(wasmq.NotRefuellable, match="ended already, as cancelled"):
                await daemon.refuel(job, 1)
            assert await figures(daemon) == (1_000, 0)
        stops = await runs.submit(loop, "spin", tenant="acme", limits=wasmq.Limits(fuel=10**8, timeout=60.0))
        await until(lambda: any(daemon._pool.holds(stops.id) for daemon in daemons))
        for daemon in daemons:
            with pytest.raises(wasmq.NotRefuellable, match="on_exhausted='suspend'"):
                await daemon.refuel(stops.id, 1)
        await stops.cancel()
        await stops


async def test_a_job_that_ends_meanwhile_keeps_nothing(make_daemon, guests):
    """Refuelled from both sides until it has ended: each counts or is refused, and all goes back but the bill."""
    async with two(make_daemon) as daemons:
        loop = await daemons[0].load(guests / "loop.wat")
        whole = (await daemons[0].run(loop, "burn", 3_000)).fuel_used
        job, _, _ = await suspended(daemons, loop, "burn", 3_000)
        given: list[int] = []

        async def feed(daemon):
            while True:
                try:
                    await daemon.refuel(job, 50)
                except wasmq.NotRefuellable:
                    if (await daemon.job(job)).outcome is not None:
                        return
                else:
                    given.append(50)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for daemon in daemons:
                tasks.create_task(feed(daemon))
        record = await daemons[0].job(job)
        assert (record.outcome.status, record.job.refuelled) == ("succeeded", sum(given))
        # A cap in its last straight stretch of code lets it finish, charged at that cap.
        assert whole - 50 < record.outcome.fuel_used <= whole
        assert await figures(daemons[0]) == (record.outcome.fuel_used, 0)


async def test_many_daemons_together_do_not_exceed_what_a_job_may_have(make_daemon, guests):
    """Each refuel counts once, and those that would be too much are refused, whoever asks at the same time."""
    limits = LimitsConfig(fuel=1_000, max=LimitCeilings(fuel=1_000 + 7 * 100))
    async with two(make_daemon, limits=limits) as daemons:
        loop = await daemons[0].load(guests / "loop.wat")
        job, runs, _ = await suspended(daemons, loop)
        asked = [daemon.refuel(job, 100) for _ in range(6) for daemon in daemons]
        found = await asyncio.gather(*asked, return_exceptions=True)
        totals = sorted(each for each in found if isinstance(each, int))
        assert totals == [1_000 + 100 * number for number in range(1, 8)]
        assert sum(isinstance(each, LimitTooHigh) for each in found) == 5
        assert await figures(runs) == (0, 1_700)
        await until(lambda: runs._pool.where(job)[2].fuel == 1_700 and runs._pool.is_suspended(job))
        await runs.cancel(job)
        async with asyncio.timeout(PATIENCE):
            await runs.wait(job)
        assert await figures(runs) == (1_700, 0)


async def test_nothing_is_given_up_that_has_been_refuelled(make_daemon, guests, monkeypatch):
    """A daemon whose job's time is over looks for fuel that it has not heard of yet, and only then gives the job up."""

    async def deaf(self):
        """Hear nothing of what other daemons do."""

    clock = VirtualClock()
    async with AsyncExitStack() as stack:
        runs = await stack.enter_async_context(running(make_daemon, clock=clock))
        loop = await runs.load(guests / "loop.wat")
        job, *_ = await suspended([runs, runs], loop)
        monkeypatch.setattr(Watcher, "look", deaf)
        other = await stack.enter_async_context(running(make_daemon, workers=1))
        assert await other.refuel(job, 500) == 1_500
        assert runs._pool.where(job)[2].fuel == 1_000
        clock.now += 61.0
        runs._refuelling._bell.ring()
        await until(lambda: runs._pool.where(job)[2].fuel == 1_500)
        await until(lambda: runs._pool.is_suspended(job))
        assert (await runs.job(job)).state == "running"
        clock.now += 61.0
        runs._refuelling._bell.ring()
        async with asyncio.timeout(PATIENCE):
            outcome = (await runs.wait(job)).outcome
        assert (outcome.status, outcome.fuel_used) == ("out_of_fuel", 1_500)
        assert "nobody refuelled it" in outcome.error
