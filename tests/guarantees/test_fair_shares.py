"""Promise 7: a tenant with work waiting gets its weighted share of fuel, whatever the others submit.

Measured in fuel, never in time: a job of a third tenant that burns a known amount is the clock.
"""

import asyncio

import pytest
from watching import ENDLESS, running, until_running

import wasmq

TENANTS = {"light": wasmq.Tenant(weight=1.0), "heavy": wasmq.Tenant(weight=3.0)}


async def fuel_of(handles):
    """The fuel that jobs have used when all of them are cancelled now."""
    for handle in handles:
        await handle.cancel()
    return sum([(await handle).fuel_used for handle in handles])


@pytest.mark.parametrize(("light", "heavy"), [(10, 10), (30, 1), (1, 30)])
async def test_running_jobs_share_by_weight(make_scheduler, guests, light, heavy):
    """Endless jobs of two tenants on one worker: fuel goes by weight, however many jobs each has."""
    async with running(make_scheduler, tenants=TENANTS, grace=0.0) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        hogs = {
            tenant: [await scheduler.submit(loop, "spin", limits=ENDLESS, tenant=tenant) for _ in range(count)]
            for tenant, count in (("light", light), ("heavy", heavy))
        }
        for handle in (*hogs["light"], *hogs["heavy"]):
            await until_running(scheduler, handle.id)
        burnt = (await scheduler.run(loop, "burn", 30_000_000, tenant="clock")).fuel_used
        used = dict(zip(hogs, await asyncio.gather(*map(fuel_of, hogs.values())), strict=True))
        assert 2.4 < used["heavy"] / used["light"] < 3.6
        # The clock has a weight of 1 as well, and was there for nearly all of the time.
        assert used["light"] > 0.8 * burnt


async def test_waiting_jobs_share_by_weight(make_scheduler, guests):
    """Floods of equal jobs, few of which run at once: in any stretch they end three to one."""
    async with running(make_scheduler, tenants=TENANTS, instances=4) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        ended = []

        async def note(handle, tenant):
            ended.append((tenant, (await handle).fuel_used))

        requests = [
            wasmq.Request(module=loop.digest, export="burn", args=(200_000,), tenant=tenant)
            for tenant in ("light", "heavy")
            for _ in range(200)
        ]
        handles = await scheduler.submit_many(requests)
        await asyncio.gather(*(note(handle, request.tenant) for handle, request in zip(handles, requests, strict=True)))
        for stretch in (ended[:120], ended[60:180]):
            used = {name: sum(fuel for tenant, fuel in stretch if tenant == name) for name in TENANTS}
            assert 2.0 < used["heavy"] / used["light"] < 4.5


async def test_a_flood_of_short_jobs_does_not_outweigh_a_long_one(make_scheduler, guests):
    """Thousands of tiny jobs of one tenant cost another with the same weight no more than its half."""
    async with running(make_scheduler, max_queued=1_000) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        hog = await scheduler.submit(loop, "spin", limits=ENDLESS, tenant="hog")
        await until_running(scheduler, hog.id)
        flood = [outcome.fuel_used async for outcome in scheduler.map(loop, "burn", [(50_000,)] * 500, tenant="flood")]
        assert await fuel_of([hog]) > 0.5 * sum(flood)


async def test_long_jobs_of_one_tenant_leave_instances_to_others(make_scheduler, guests):
    """One that would hold all instances for good holds nine in ten; another's short jobs start beside them."""
    async with running(make_scheduler, instances=40, grace=0.0) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        hogs = [await scheduler.submit(loop, "spin", limits=ENDLESS, tenant="hog") for _ in range(100)]
        for handle in hogs[:30]:
            await until_running(scheduler, handle.id)
        for _ in range(3):
            outcome = await scheduler.run(loop, "burn", 1_000, tenant="new")
            assert outcome.status == "succeeded"
        assert all(handle.outcome is None for handle in hogs)


async def test_a_newcomer_is_served_before_a_backlog(make_scheduler, guests):
    """A tenant's first job ends while hundreds that another had queued before it still wait."""
    async with running(make_scheduler, instances=2) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        requests = [wasmq.Request(module=loop.digest, export="burn", args=(300_000,), tenant="flood")] * 500
        backlog = await scheduler.submit_many(requests)
        await backlog[0]
        await scheduler.run(loop, "burn", 300_000, tenant="new")
        assert sum(handle.outcome is not None for handle in backlog) < 100


async def test_shares_are_counted_in_fuel_not_in_turns(make_scheduler, guests):
    """A tenant whose jobs take little of each turn gets more turns than one that takes all of them."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        ended = []

        async def note(handle, tenant):
            await handle
            ended.append(tenant)

        # Few enough to be with the worker all at once: from then on only its own choice of turns decides.
        jobs = [(2_000_000, "long"), *[(1_000, "short")] * 100]
        requests = [
            wasmq.Request(module=loop.digest, export="burn", args=(size,), tenant=tenant) for size, tenant in jobs
        ]
        handles = await scheduler.submit_many(requests)
        await asyncio.gather(*(note(handle, tenant) for handle, (_, tenant) in zip(handles, jobs, strict=True)))
        # The long one has twenty turns, and starting each of the short ones counts as a quarter of one.
        assert ended.index("long") > 40
