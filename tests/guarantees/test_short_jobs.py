"""Promise 6: no job holds a core for longer than a quantum while another waits.

Shown by order, not by a clock: short jobs end while hogs that came before them still run.
"""

import pytest
from watching import ENDLESS, running, until_running

import wasmq


@pytest.mark.parametrize("engine", ["native", "interpreter"])
@pytest.mark.parametrize("tenant", ["hogs", "short"])
async def test_short_jobs_end_beside_hogs(make_scheduler, guests, engine, tenant):
    """A hundred short jobs behind twenty endless ones on one worker all end, whether or not the tenant is the same."""
    async with running(make_scheduler, engine=engine) as scheduler:
        loop, mul = await scheduler.load(guests / "loop.wat"), await scheduler.load(guests / "mul.wat")
        hogs = [await scheduler.submit(loop, "spin", limits=ENDLESS, tenant="hogs") for _ in range(20)]
        for hog in hogs:
            await until_running(scheduler, hog.id)
        short = [await scheduler.submit(mul, "mul", n, 2, tenant=tenant) for n in range(100)]
        assert [(await job).value for job in short] == [2 * n for n in range(100)]
        assert [hog.outcome for hog in hogs] == [None] * 20
        for hog in hogs:
            assert await hog.cancel()
        assert {(await hog).status for hog in hogs} == {"cancelled"}


async def test_one_after_the_other(make_scheduler, guests):
    """Short jobs that come one by one, each waiting for the one before, go on ending beside hogs."""
    async with running(make_scheduler, grace=0.0) as scheduler:
        loop, mul = await scheduler.load(guests / "loop.wat"), await scheduler.load(guests / "mul.wat")
        hogs = [await scheduler.submit(loop, "spin", limits=ENDLESS) for _ in range(20)]
        for number in range(100):
            assert (await scheduler.run(mul, "mul", number, 2)).value == 2 * number
        assert not any(hog.outcome for hog in hogs)


async def test_hogs_go_on_beside_a_flood_of_short_jobs(make_scheduler, guests):
    """The long ones get their turns too: one of thirty turns ends long before the short ones of the same tenant do."""
    async with running(make_scheduler) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        requests = [
            wasmq.Request(module=loop.digest, export="burn", args=(size,)) for size in (3_000_000, *[90_000] * 1_500)
        ]
        long, *flood = await scheduler.submit_many(requests)
        assert (await long).status == "succeeded"
        assert sum(job.outcome is not None for job in flood) < 1_000


async def test_a_start_function_is_cut_into_turns_too(make_scheduler, guests):
    """A module that loops before it is ever called holds up nobody, and its limits hold."""
    text = '(module (func $spin (loop $again (br $again))) (start $spin) (func (export "f")))'
    async with running(make_scheduler, grace=0.0) as scheduler:
        hog, mul = await scheduler.load(text), await scheduler.load(guests / "mul.wat")
        hogs = [await scheduler.submit(hog, "f", limits=ENDLESS) for _ in range(5)]
        assert (await scheduler.run(mul, "mul", 2, 4)).value == 8
        assert not any(job.outcome for job in hogs)
        with pytest.raises(wasmq.OutOfFuel):
            await scheduler.run(hog, "f", limits=wasmq.Limits(fuel=10**6))
