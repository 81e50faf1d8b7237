"""What is accepted and when it starts: order, delays, keys, the bounded queue, refusals."""

import asyncio

import pytest
from clocks import VirtualClock
from watching import ENDLESS, running, sample, until_running

import wasmq
from wasmq.config import Config, LimitCeilings, LimitsConfig, Size
from wasmq.errors import (
    InvalidArguments,
    InvalidLimit,
    KeyConflict,
    LimitTooHigh,
    QueueFull,
    UnknownExport,
    UnsatisfiedImport,
)

# "spin" runs until somebody ends it, "mul" has its answer at once.
SPIN = """(module
  (func (export "spin") (loop $again (br $again)))
  (func (export "mul") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))"""


async def test_a_higher_priority_goes_first(make_scheduler):
    """Among jobs that wait, whenever they came; equals in the order in which they came."""
    async with running(make_scheduler, instances=1) as scheduler:
        module = await scheduler.load(SPIN)
        hog = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, hog.id)
        order = []

        async def note(priority, place):
            await scheduler.run(module, "mul", 1, 1, priority=priority)
            order.append((priority, place))

        tasks = []
        for place, priority in enumerate([0, -1, 5, 0, 5, 1000, -1000]):
            tasks.append(asyncio.create_task(note(priority, place)))
            await asyncio.sleep(0)
        await hog.cancel()
        await asyncio.gather(*tasks)
        assert order == [(1000, 5), (5, 2), (5, 4), (0, 0), (0, 3), (-1, 1), (-1000, 6)]


async def test_a_delayed_job_starts_when_it_is_due(make_scheduler, guests):
    """Not a moment earlier by the scheduler's clock; others go meanwhile."""
    clock = VirtualClock()
    async with running(make_scheduler, clock=clock) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        job = await scheduler.submit(mul, "mul", 2, 4, delay=3600.0)
        clock.now += 3599.0
        await scheduler.run(mul, "mul", 1, 1)
        assert (await scheduler.job(job.id)).state == "queued"
        clock.now += 1.0
        await scheduler.run(mul, "mul", 1, 1)
        outcome = await job
        assert (outcome.value, outcome.queued) == (8, 0.0)


async def test_a_delay_needs_nobody_to_come(make_scheduler, guests):
    """When its time has come a job starts by itself."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        assert (await scheduler.run(mul, "mul", 2, 4, delay=0.05)).value == 8


async def test_a_job_that_is_due_while_there_is_no_room_costs_nothing(make_scheduler, monkeypatch):
    """The loop waits for room, it does not ask again and again whether there is any."""
    async with running(make_scheduler, instances=1) as scheduler:
        module = await scheduler.load(SPIN)
        hog = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, hog.id)
        job = await scheduler.submit(module, "mul", 2, 4, delay=0.01)
        asked = 0
        next_due = scheduler._store.next_due

        async def count(now):
            nonlocal asked
            asked += 1
            return await next_due(now)

        monkeypatch.setattr(scheduler._store, "next_due", count)
        await asyncio.sleep(0.2)
        assert asked < 10
        await hog.cancel()
        assert (await job).value == 8


async def test_a_key_used_again_is_the_same_job(make_scheduler, guests):
    """Waiting, and when it has finished; another tenant's key is another."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        first = await scheduler.submit(mul, "mul", 2, 4, key="k", delay=0.05)
        again = await scheduler.submit(mul, "mul", 2, 4, key="k")
        assert again.id == first.id
        other = await scheduler.submit(mul, "mul", 2, 4, key="k", tenant="other")
        assert other.id != first.id
        assert await first is await again
        finished = await scheduler.submit(mul, "mul", 2, 4, key="k")
        assert finished.id == first.id
        assert (await finished).value == 8
        assert sample(scheduler, 'wasmq_jobs_submitted_total{tenant="default"}') == 1.0
        await other


async def test_a_key_for_another_call_is_refused(make_scheduler, guests):
    """Other arguments or other limits under the same key: nothing is queued, and the room is given back."""
    async with running(make_scheduler, max_queued=2) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        await scheduler.submit(mul, "mul", 2, 4, key="k", delay=600.0)
        for _ in range(3):
            with pytest.raises(KeyConflict, match="key 'k' of tenant 'default' was used for another call"):
                await scheduler.submit(mul, "mul", 2, 5, key="k", wait=False)
            with pytest.raises(KeyConflict):
                await scheduler.submit(mul, "mul", 2, 4, key="k", limits=wasmq.Limits(fuel=5), wait=False)
        assert len(await scheduler.jobs()) == 1
        assert sample(scheduler, 'wasmq_rejected_total{reason="key_conflict"}') == 6.0
        await scheduler.submit(mul, "mul", 3, 4, wait=False)


async def test_a_full_queue_refuses_or_waits(make_scheduler):
    """Without waiting it is refused with a reason; with, it is accepted as soon as there is room."""
    async with running(make_scheduler, instances=1, max_queued=2) as scheduler:
        module = await scheduler.load(SPIN)
        hog = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, hog.id)
        queued = [await scheduler.submit(module, "mul", n, 1) for n in range(2)]
        with pytest.raises(QueueFull, match="the queue is full: 2 jobs may wait"):
            await scheduler.submit(module, "mul", 9, 1, wait=False)
        assert sample(scheduler, 'wasmq_rejected_total{reason="queue_full"}') == 1.0
        waiting = asyncio.create_task(scheduler.submit(module, "mul", 5, 1))
        given_up = asyncio.create_task(scheduler.submit(module, "mul", 6, 1))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert not waiting.done()
        assert len(await scheduler.jobs(status="queued")) == 2
        await queued[0].cancel()
        job = await waiting
        await hog.cancel()
        assert [(await handle).value for handle in (queued[1], job)] == [1, 5]


async def test_a_batch_that_can_never_fit_is_refused(make_scheduler, guests):
    """Waiting would not help it, so it is told at once."""
    async with running(make_scheduler, max_queued=3) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        request = wasmq.Request(module=mul.digest, export="mul", args=(1, 2))
        with pytest.raises(QueueFull, match="4 jobs at once do not fit a queue of 3"):
            await scheduler.submit_many([request] * 4)


async def test_a_tenants_own_bound(make_scheduler, guests):
    """It holds for that tenant alone, and from the moment it is set; raising it lets in those who wait."""
    async with running(make_scheduler, tenants={"small": wasmq.Tenant(max_queued=1)}) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        await scheduler.submit(mul, "mul", 1, 1, tenant="small", delay=600.0)
        with pytest.raises(QueueFull, match=r"1 jobs may wait \(tenant 'small'\)"):
            await scheduler.submit(mul, "mul", 1, 1, tenant="small", wait=False)
        await scheduler.submit(mul, "mul", 1, 1, tenant="other", wait=False)
        waiting = asyncio.create_task(scheduler.submit(mul, "mul", 2, 4, tenant="small"))
        await asyncio.sleep(0)
        assert not waiting.done()
        await scheduler.set_tenant("small", wasmq.Tenant(max_queued=2))
        assert (await (await waiting)).value == 8


async def test_arguments_are_checked_before_anything_is_queued(make_scheduler, guests):
    """The refusal names the position, the type wanted and what came."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        with pytest.raises(InvalidArguments, match=r"argument 2 of 'mul' is i32: wants an int, got '4' \(str\)"):
            await scheduler.submit(mul, "mul", 2, "4")
        with pytest.raises(InvalidArguments, match="takes 2 arguments, got 1"):
            await scheduler.run(mul, "mul", 2)
        for option in ({"tenant": ""}, {"key": ""}, {"priority": 1001}, {"delay": -1}, {"key": "x" * 256}):
            with pytest.raises(InvalidArguments):
                await scheduler.submit(mul, "mul", 2, 4, **option)
        assert await scheduler.jobs() == []
        assert sample(scheduler, 'wasmq_rejected_total{reason="invalid_arguments"}') == 7.0


async def test_limits_are_checked_before_anything_is_queued(make_scheduler, config, guests):
    """Zero is no limit, and more than the configured maximum is too high; each by its name."""
    ceilings = LimitCeilings(fuel=10**9, memory=Size(2**26), timeout=10.0, output=Size(2**20))
    config = Config(modules=config.modules, limits=LimitsConfig(max=ceilings))
    async with running(make_scheduler, config=config) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        for name, zero, high in [
            ("fuel", 0, 10**9 + 1),
            ("memory", "0MiB", "65MiB"),
            ("timeout", 0.0, 10.1),
            ("output", 0, "2MiB"),
        ]:
            with pytest.raises(InvalidLimit, match=f"^{name}: "):
                await scheduler.submit(mul, "mul", 2, 4, limits=wasmq.Limits(**{name: zero}))
            with pytest.raises(LimitTooHigh, match=rf"\(limits\.max\.{name}\)"):
                await scheduler.submit(mul, "mul", 2, 4, limits=wasmq.Limits(**{name: high}))
        assert await scheduler.jobs() == []
        highest = wasmq.Limits(fuel=10**9, memory="64MiB", timeout=10, output="1MiB")
        assert (await scheduler.run(mul, "mul", 2, 4, limits=highest)).value == 8
        job = await scheduler.submit(mul, "mul", 2, 4)
        caps = (await scheduler.job(job.id)).job.caps
        limits = config.limits
        assert caps == wasmq.job.Caps(limits.fuel, limits.memory, limits.timeout, limits.output, limits.files)


async def test_what_cannot_be_called_is_refused(make_scheduler, guests):
    """An export that is not there or no function, and a module that wants what nobody offers."""
    async with running(make_scheduler) as scheduler:
        grow = await scheduler.load(guests / "grow.wat")
        with pytest.raises(UnknownExport, match=r"no export 'shrink'; .*: grow_until_refused, grow"):
            await scheduler.submit(grow, "shrink", 1)
        with pytest.raises(UnknownExport, match="'memory' is not a function"):
            await scheduler.submit(grow, "memory")
        needy = await scheduler.load('(module (import "env" "log" (func (param i32))) (func (export "f")))')
        with pytest.raises(UnsatisfiedImport, match=r"env\.log \(func \(param i32\)\)"):
            await scheduler.submit(needy, "f")
        assert await scheduler.jobs() == []
