"""Many calls at once: `map` and batches."""

from contextlib import AsyncExitStack

import httpx
import pytest
from watching import ENDLESS, running

import wasmq
from wasmq.errors import InvalidArguments, QueueFull, UnknownExport
from wasmq.server import build_app


async def test_map_yields_in_the_order_of_its_input(make_scheduler, guests):
    """Long and short, failed and succeeded: one outcome for each call, in order."""
    async with running(make_scheduler, workers=2) as scheduler:
        fib = await scheduler.load(guests / "fib.wat")
        sizes = [22, 1, 15, 3, 20, 2] * 20
        outcomes = [outcome async for outcome in scheduler.map(fib, "fib", [(size,) for size in sizes])]
        values = {1: 1, 2: 1, 3: 2, 15: 610, 20: 6_765, 22: 17_711}
        assert [outcome.value for outcome in outcomes] == [values[size] for size in sizes]
        divide = await scheduler.load(guests / "divide.wat")
        calls = [(6, 3), (1, 0), (6, 2)]
        statuses = [outcome.status async for outcome in scheduler.map(divide, "divide", calls)]
        assert statuses == ["succeeded", "trapped", "succeeded"]


async def test_map_of_nothing_is_nothing(make_scheduler, guests):
    """No calls, no outcomes."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        assert [outcome async for outcome in scheduler.map(mul, "mul", [])] == []


async def test_map_takes_its_input_as_it_goes(make_scheduler, guests):
    """An endless generator is fine: calls are taken a bounded way ahead of the outcomes."""
    taken = 0

    def calls():
        nonlocal taken
        while True:
            yield (taken, 1)
            taken += 1

    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        outcomes = scheduler.map(mul, "mul", calls())
        for number in range(10):
            assert (await anext(outcomes)).value == number
        await outcomes.aclose()
        assert taken < 5_000


@pytest.mark.parametrize("bound", ["queue", "tenant"])
async def test_map_waits_for_room(make_scheduler, guests, bound):
    """More calls than may be queued, in all or by its tenant, go through all the same."""
    options = {"max_queued": 7} if bound == "queue" else {"tenants": {"default": wasmq.Tenant(max_queued=7)}}
    async with running(make_scheduler, **options) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        outcomes = [outcome.value async for outcome in scheduler.map(mul, "mul", [(n, 2) for n in range(300)])]
        assert outcomes == [2 * n for n in range(300)]


async def test_a_map_that_is_given_up_cancels_the_rest(make_scheduler, guests):
    """Leaving the loop ends the calls that have not finished, running and waiting ones."""
    async with running(make_scheduler, instances=2) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        outcomes = scheduler.map(loop, "burn", [(1,), *[(10**12,)] * 5], limits=ENDLESS)
        assert (await anext(outcomes)).status == "succeeded"
        await outcomes.aclose()
        for record in await scheduler.jobs():
            await scheduler.wait(record.job.id)
        statuses = sorted(record.outcome.status for record in await scheduler.jobs())
        assert statuses == ["cancelled"] * 5 + ["succeeded"]


@pytest.mark.parametrize("surface", ["scheduler", "client"])
async def test_a_suspended_call_of_a_map_can_be_refuelled(make_scheduler, guests, surface):
    """By its handle: those before it come out meanwhile, those behind it when it has ended, for the bill of one run."""
    async with running(make_scheduler) as scheduler, AsyncExitStack() as stack:
        where = scheduler
        if surface == "client":
            transport = httpx.ASGITransport(app=build_app(scheduler))
            where = await stack.enter_async_context(wasmq.Client("http://localhost", transport=transport))
        loop = await scheduler.load(guests / "loop.wat")
        whole = (await scheduler.run(loop, "burn", 1_000)).fuel_used
        handles = []
        limits = wasmq.Limits(fuel=whole // 2, suspend=60.0)
        calls = [(1,), (1_000,), (2,)]
        outcomes = where.map(loop.digest, "burn", calls, limits=limits, on_exhausted="suspend", accepted=handles.append)
        assert (await anext(outcomes)).status == "succeeded"
        assert len(handles) == 3
        async for event in scheduler.events(handles[1].id):
            if isinstance(event, wasmq.JobSuspended):
                assert await handles[1].refuel(whole - whole // 2) == whole
        rest = [(outcome.status, outcome.fuel_used) async for outcome in outcomes]
        assert rest[0] == ("succeeded", whole)
        assert [status for status, _ in rest] == ["succeeded"] * 2
        # Given up, it holds up nothing for ever.
        brief = wasmq.Limits(fuel=whole // 2, suspend=0.05)
        outcomes = where.map(loop.digest, "burn", calls, limits=brief, on_exhausted="suspend")
        assert [outcome.status async for outcome in outcomes] == ["succeeded", "out_of_fuel", "succeeded"]


async def test_a_call_that_is_refused_ends_the_map(make_scheduler, guests):
    """The refusal comes out of the iteration, and what was queued before is cancelled."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        with pytest.raises(InvalidArguments, match="argument 2 of 'mul'"):
            async for _ in scheduler.map(mul, "mul", [(1, 2), (1, "x")]):
                pass
        assert await scheduler.jobs(status="queued") == []


async def test_a_batch_is_all_or_nothing(make_scheduler, guests):
    """One request that is refused, and none is queued; else the handles come in order."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        good = [wasmq.Request(module=mul.digest, export="mul", args=(n, 10)) for n in range(50)]
        with pytest.raises(UnknownExport):
            await scheduler.submit_many([*good, wasmq.Request(module=mul.digest, export="div")])
        assert await scheduler.jobs() == []
        handles = await scheduler.submit_many(good)
        assert [(await handle).value for handle in handles] == [10 * n for n in range(50)]
        assert await scheduler.submit_many([]) == []


async def test_a_batch_of_several_tenants_that_cannot_fit_is_refused(make_scheduler, guests):
    """It is not let wait for room that it holds itself."""
    async with running(make_scheduler, max_queued=10) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        requests = [
            wasmq.Request(module=mul.digest, export="mul", args=(1, 2), tenant=tenant) for tenant in "a" * 6 + "b" * 6
        ]
        with pytest.raises(QueueFull, match="12 jobs at once"):
            await scheduler.submit_many(requests)
        assert len(await scheduler.submit_many(requests[3:9])) == 6
