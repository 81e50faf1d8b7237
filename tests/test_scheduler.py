"""The public surface, line by line: what is promised to who writes `async with wasmq.Scheduler(...)`."""

import asyncio
import math
import struct

import pytest
from watching import PATIENCE, children, running, until, until_running, workers

import wasmq
from wasmq.config import Config, LimitCeilings, LimitsConfig, Size, StoreConfig
from wasmq.errors import (
    ConfigError,
    InvalidArguments,
    InvalidLimit,
    KeyConflict,
    LimitTooHigh,
    QueueFull,
    SchedulerClosed,
    UnknownExport,
    UnknownJob,
    UnknownModule,
    UnsatisfiedImport,
    WorkerUnavailable,
)

ENDLESS = wasmq.Limits(fuel=10**12, timeout=600.0)
SPIN = '(module (func (export "spin") (loop $again (br $again))) (func (export "mul") (param i32 i32) (result i32) ' \
    "(i32.mul (local.get 0) (local.get 1))))"


class StandingClock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def monotonic(self):
        """Seconds that only grow."""
        return self.now

    def wall(self):
        """Seconds since 1970."""
        return self.now


def metric(scheduler, line):
    """The value of one sample, by its name and labels as rendered."""
    for text in scheduler.metrics.render().decode().splitlines():
        if text.startswith(line + " "):
            return float(text.rsplit(" ", 1)[1])
    return None


# Running.


async def test_the_first_example(make_scheduler, guests):
    """Load, run, and there is the value with its exact price."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        outcome = await scheduler.run(mul, "mul", 2, 4)
        assert outcome.value == 8
        assert outcome.fuel_used == 4


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_an_outcome_says_everything(make_scheduler, guests, engine):
    """Every field of an outcome, on each engine."""
    async with running(make_scheduler, engine=engine) as scheduler:
        module = await scheduler.load(guests / "grow.wat")
        outcome = await scheduler.run(module, "grow", 3)
    assert (outcome.status, outcome.value, outcome.values) == ("succeeded", 1, (1,))
    assert outcome.memory_peak == 4 * 65_536
    assert outcome.fuel_used > 0
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == (b"", b"", None)
    assert (outcome.error, outcome.trap) == (None, None)
    assert outcome.queued >= 0.0
    assert outcome.ran >= 0.0
    assert (outcome.attempts, outcome.worker, outcome.engine) == (1, "1", engine)
    assert outcome.engine_version.startswith("wasmtime ")


async def test_submit_and_await(make_scheduler, guests):
    """A handle has an id, is awaited as often as one likes, and then has its outcome at hand."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        limits = wasmq.Limits(fuel=10_000, memory="1MiB", timeout=5.0, output="64KiB")
        job = await scheduler.submit(
            mul, "mul", 2, 4, limits=limits, tenant="acme", priority=3, key="invoice-17", delay=0.0
        )
        outcome = await job
        assert outcome.value == 8
        assert await job is outcome is job.outcome
        record = await scheduler.job(job.id)
        assert (record.state, record.attempts, record.outcome) == ("finished", 1, outcome)
        assert (record.job.tenant, record.job.priority, record.job.key) == ("acme", 3, "invoice-17")
        assert record.job.caps == wasmq.job.Caps(10_000, 2**20, 5.0, 65_536)


async def test_awaiting_never_raises_for_what_the_guest_did(make_scheduler, guests):
    """A failed job is an outcome to who awaits its handle, an exception with the same outcome to who runs it."""
    async with running(make_scheduler) as scheduler:
        divide = await scheduler.load(guests / "divide.wat")
        outcome = await (await scheduler.submit(divide, "divide", 1, 0))
        assert outcome.status == "trapped"
        with pytest.raises(wasmq.Trapped, match="division by zero|divide by zero") as caught:
            await scheduler.run(divide, "divide", 1, 0)
        assert caught.value.outcome.status == "trapped"
        assert caught.value.outcome.trap.code == outcome.trap.code


async def test_a_module_may_be_named_by_its_digest(make_scheduler, guests):
    """Who has no module at hand uses its digest; the scheduler tells what it has loaded."""
    async with running(make_scheduler) as scheduler:
        assert scheduler.modules() == []
        mul = await scheduler.load(guests / "mul.wat")
        assert (await scheduler.run(mul.digest, "mul", 3, 5)).value == 15
        assert scheduler.modules() == [mul]
        assert scheduler.module(mul.digest) is mul
        for call in (scheduler.submit, scheduler.run):
            with pytest.raises(UnknownModule, match="no module with digest 'f00'"):
                await call("f00", "mul", 1, 2)
        with pytest.raises(UnknownModule):
            scheduler.module("f00")


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_values_of_every_type_go_in_and_come_out(make_scheduler, guests, engine):
    """Bit for bit, signed, several at once in order."""
    vector = bytes(range(16))
    cases = [
        ("i32", 2**32 - 1, -1),
        ("i32", -(2**31), -(2**31)),
        ("i64", 2**64 - 1, -1),
        ("i64", 2**63 - 1, 2**63 - 1),
        ("f32", 0.1, struct.unpack("<f", struct.pack("<f", 0.1))[0]),
        ("f32", -math.inf, -math.inf),
        ("f64", 0.1, 0.1),
        ("f64", 7, 7.0),
        ("f64", math.inf, math.inf),
        ("v128", vector, vector),
    ]
    async with running(make_scheduler, engine=engine) as scheduler:
        values = await scheduler.load(guests / "values.wat")
        for export, arg, expected in cases:
            value = (await scheduler.run(values, export, arg)).value
            assert (type(value), value) == (type(expected), expected)
        assert math.isnan((await scheduler.run(values, "f64", math.nan)).value)
        zero = (await scheduler.run(values, "f32", -0.0)).value
        assert math.copysign(1.0, zero) == -1.0
        outcome = await scheduler.run(values, "all", 1, -2, 0.5, -0.25, vector)
        assert outcome.value == outcome.values == (vector, -0.25, 0.5, -2, 1)
        assert (await scheduler.run(values, "divmod", 42, 5)).value == (8, 2)
        burn = await scheduler.load(guests / "loop.wat")
        assert (await scheduler.run(burn, "burn", 10)).value is None


async def test_each_job_has_an_instance_of_its_own(make_scheduler, guests):
    """What one job leaves in a global or memory the next does not see."""
    async with running(make_scheduler) as scheduler:
        start = await scheduler.load(guests / "start.wat")
        outcomes = [outcome.value async for outcome in scheduler.map(start, "get", [()] * 20)]
        assert outcomes == [5050] * 20


# Map and batches.


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


# Cancelling.


async def test_cancel_before_it_runs(make_scheduler, guests):
    """A job that waits is finished at once and never starts."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        job = await scheduler.submit(mul, "mul", 2, 4, delay=600.0)
        assert await job.cancel() is True
        outcome = await job
        assert (outcome.status, outcome.attempts, outcome.fuel_used) == ("cancelled", 0, 0)
        assert await job.cancel() is False
        assert await scheduler.cancel(job.id) is False
        with pytest.raises(wasmq.Cancelled):
            raise wasmq.errors.error_for(outcome)


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_cancel_while_it_runs(make_scheduler, engine):
    """A guest that would spin for ever ends at its next turn, and what it spent is on the bill."""
    async with running(make_scheduler, engine=engine) as scheduler:
        module = await scheduler.load(SPIN)
        job = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
        # Behind it in the same worker: once this has run, the spinning one has had turns.
        await scheduler.run(module, "mul", 1, 1)
        assert await scheduler.cancel(job.id) is True
        outcome = await job
        assert (outcome.status, outcome.attempts) == ("cancelled", 1)
        assert 0 < outcome.fuel_used < 10**12
        assert outcome.fuel_used % scheduler.config.scheduler.quantum == 0
        assert (await scheduler.run(module, "mul", 2, 4)).value == 8


async def test_cancel_with_no_history(make_scheduler, config, guests):
    """A scheduler that keeps no finished jobs still answers those who wait for them."""
    config = Config(modules=config.modules, store=StoreConfig(history=0))
    async with running(make_scheduler, config=config) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        job = await scheduler.submit(mul, "mul", 2, 4, delay=600.0)
        waiting = asyncio.create_task(scheduler.wait(job.id))
        await asyncio.sleep(0)
        assert await job.cancel() is True
        assert (await job).status == "cancelled"
        assert (await waiting).outcome.status == "cancelled"
        with pytest.raises(UnknownJob):
            await job.cancel()
        assert (await scheduler.run(mul, "mul", 2, 4)).value == 8


async def test_an_unknown_job_is_named(make_scheduler):
    """There is nothing to tell, to wait for or to cancel."""
    async with running(make_scheduler) as scheduler:
        for ask in (scheduler.job, scheduler.wait, scheduler.cancel):
            with pytest.raises(UnknownJob, match="no job 'nobody'"):
                await ask("nobody")


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_a_run_that_is_given_up_cancels_its_job(make_scheduler, state):
    """When the task that waits for `run` is cancelled, the job is too, and the task ends as cancelled."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(SPIN)
        delay = 600.0 if state == "queued" else 0.0
        task = asyncio.create_task(scheduler.run(module, "spin", limits=ENDLESS, delay=delay))
        while not (records := await scheduler.jobs(status=state)):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        record = await scheduler.wait(records[0].job.id)
        assert record.outcome.status == "cancelled"


async def test_a_timeout_around_run_is_a_timeout(make_scheduler):
    """`asyncio.timeout` works as around anything else."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(SPIN)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await scheduler.run(module, "spin", limits=ENDLESS)
        assert (await scheduler.run(module, "mul", 2, 4)).value == 8


# Order.


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
    clock = StandingClock()
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


# Keys.


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
        assert metric(scheduler, 'wasmq_jobs_submitted_total{tenant="default"}') == 1.0
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
        assert metric(scheduler, 'wasmq_rejected_total{reason="key_conflict"}') == 6.0
        await scheduler.submit(mul, "mul", 3, 4, wait=False)


# The bounded queue.


async def test_a_full_queue_refuses_or_waits(make_scheduler):
    """Without waiting it is refused with a reason; with, it is accepted as soon as there is room."""
    async with running(make_scheduler, instances=1, max_queued=2) as scheduler:
        module = await scheduler.load(SPIN)
        hog = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, hog.id)
        queued = [await scheduler.submit(module, "mul", n, 1) for n in range(2)]
        with pytest.raises(QueueFull, match="the queue is full: 2 jobs may wait"):
            await scheduler.submit(module, "mul", 9, 1, wait=False)
        assert metric(scheduler, 'wasmq_rejected_total{reason="queue_full"}') == 1.0
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


# Refusals.


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
        assert metric(scheduler, 'wasmq_rejected_total{reason="invalid_arguments"}') == 7.0


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
        assert caps == wasmq.job.Caps(limits.fuel, limits.memory, limits.timeout, limits.output)


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


# How jobs end.


@pytest.mark.parametrize("engine", ["native", "interpreter"])
@pytest.mark.parametrize(
    ("guest", "export", "args", "limits", "error", "words"),
    [
        ("traps.wat", "unreachable", (), {}, wasmq.Trapped, "trapped: .*unreachable"),
        ("recursion.wat", "dive", (), {}, wasmq.Trapped, "trapped: .*stack"),
        ("loop.wat", "spin", (), {"fuel": 100_000}, wasmq.OutOfFuel, "out of fuel: spent all 100000 units"),
        ("loop.wat", "spin", (), {"fuel": 10**12, "timeout": 0.1}, wasmq.TimedOut, "timed out: .* longer than 0.1 s"),
        ("grow.wat", "grow_until_refused", (16,), {"memory": "4MiB"}, wasmq.OutOfMemory, "out of memory: .*4194304"),
        ("grow.wat", "grow", (1,), {"memory": 1_000}, wasmq.OutOfMemory, "out of memory: .*65536.*1000"),
    ],
)
async def test_every_way_to_fail(make_scheduler, guests, engine, guest, export, args, limits, error, words):
    """Each raises its own error with one line for people, on both engines, and the worker goes on."""
    async with running(make_scheduler, engine=engine) as scheduler:
        module = await scheduler.load(guests / guest)
        with pytest.raises(error, match=words) as caught:
            await scheduler.run(module, export, *args, limits=wasmq.Limits(**limits))
        outcome = caught.value.outcome
        assert type(wasmq.errors.error_for(outcome)) is error
        assert "\n" not in outcome.error
        assert outcome.values == ()
        assert outcome.fuel_used <= limits.get("fuel", 10**9)
        assert outcome.memory_peak <= 4 * 2**20
        assert (outcome.attempts, outcome.engine) == (1, engine)
        mul = await scheduler.load(guests / "mul.wat")
        assert await scheduler.run(mul, "mul", 2, 4)
        assert len(workers()) == 1
        assert metric(scheduler, f'wasmq_jobs_finished_total{{status="{outcome.status}",tenant="default"}}') == 1.0


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_every_trap_has_its_code(make_scheduler, guests, engine):
    """All the ways of core WebAssembly to trap, each with a stable code and where it happened."""
    codes = {
        "unreachable": "unreachable",
        "memory_out_of_bounds": "memory_out_of_bounds",
        "table_out_of_bounds": "table_out_of_bounds",
        "indirect_call_to_null": "indirect_call_to_null",
        "bad_signature": "bad_signature",
        "integer_division_by_zero": "integer_division_by_zero",
        "integer_overflow": "integer_overflow",
        "bad_conversion_to_integer": "bad_conversion_to_integer",
        "stack_overflow": "stack_overflow",
    }
    async with running(make_scheduler, engine=engine) as scheduler:
        traps = await scheduler.load(guests / "traps.wat")
        found = {}
        for export in codes:
            outcome = await (await scheduler.submit(traps, export))
            assert outcome.status == "trapped"
            assert outcome.trap.backtrace
            found[export] = outcome.trap.code
        assert found == codes


async def test_a_guest_that_copes_with_a_refused_growth_succeeds(make_scheduler, guests):
    """Over its cap `memory.grow` answers -1, and the guest decides what comes of it."""
    async with running(make_scheduler) as scheduler:
        grow = await scheduler.load(guests / "grow.wat")
        outcome = await scheduler.run(grow, "grow", 1000, limits=wasmq.Limits(memory="4MiB"))
        assert (outcome.value, outcome.memory_peak) == (-1, 65_536)


async def test_a_program_compiled_from_c(make_scheduler, guests):
    """A guest with a memory that grows, the same answer on both engines."""
    outcomes = []
    for engine in ("native", "interpreter"):
        async with running(make_scheduler, engine=engine) as scheduler:
            life = await scheduler.load(guests / "life.wasm")
            outcomes.append(await scheduler.run(life, "life", 32, 32, 10, 1))
    assert outcomes[0].value == outcomes[1].value > 0
    assert outcomes[0].fuel_used == outcomes[1].fuel_used
    assert outcomes[0].memory_peak == outcomes[1].memory_peak


# Asking.


async def test_jobs_are_listed_newest_first(make_scheduler, guests):
    """By tenant, state and status, page by page."""
    async with running(make_scheduler) as scheduler:
        divide = await scheduler.load(guests / "divide.wat")
        jobs = [await scheduler.submit(divide, "divide", 6, n % 2, tenant="ab"[n % 2]) for n in range(6)]
        for job in jobs:
            await job
        last = await scheduler.submit(divide, "divide", 1, 1, delay=600.0)
        ids = [job.id for job in jobs]

        async def found(**asked):
            return [record.job.id for record in await scheduler.jobs(**asked)]

        assert await found() == [last.id, *ids[::-1]]
        assert await found(tenant="a") == [ids[4], ids[2], ids[0]]
        assert await found(status="queued") == [last.id]
        assert await found(status="finished") == ids[::-1]
        assert await found(status="trapped") == [ids[4], ids[2], ids[0]]
        assert await found(status="succeeded", tenant="a") == []
        assert await found(limit=2) == [last.id, ids[5]]
        assert await found(limit=2, after=ids[5]) == [ids[4], ids[3]]


async def test_waiting_for_a_job_by_its_id(make_scheduler, guests):
    """Returns at once when it has finished, when it does, or as it is when the time is up; not to cancel it."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        job = await scheduler.submit(mul, "mul", 2, 4, delay=0.1)
        early = await scheduler.wait(job.id, timeout=0.0)
        assert (early.state, early.outcome) == ("queued", None)
        record = await scheduler.wait(job.id)
        assert (record.state, record.outcome.value) == ("finished", 8)
        assert await scheduler.wait(job.id, timeout=0.0) == record


async def test_metrics_after_some_jobs(make_scheduler, guests):
    """What was submitted, finished and spent is counted by tenant, as anyone can scrape it."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        for _ in range(3):
            await scheduler.run(mul, "mul", 2, 4, tenant="acme")
        await scheduler.submit(mul, "mul", 2, 4, delay=600.0)
        assert metric(scheduler, 'wasmq_jobs_submitted_total{tenant="acme"}') == 3.0
        assert metric(scheduler, 'wasmq_jobs_finished_total{status="succeeded",tenant="acme"}') == 3.0
        assert metric(scheduler, 'wasmq_fuel_consumed_total{tenant="acme"}') == 12.0
        assert metric(scheduler, "wasmq_job_wait_seconds_count") == 3.0
        assert metric(scheduler, 'wasmq_jobs{state="queued"}') == 1.0
        assert metric(scheduler, 'wasmq_jobs{state="running"}') == 0.0
        assert metric(scheduler, "wasmq_workers") == 1.0


# Tenants.


async def test_tenants_come_from_both_sides(make_scheduler, config):
    """The argument goes over the configuration; what is set later goes over both; the names are checked."""
    config = Config(modules=config.modules, tenants={"a": wasmq.Tenant(weight=2.0), "b": wasmq.Tenant()})
    async with running(make_scheduler, config=config, tenants={"b": wasmq.Tenant(weight=3.0)}) as scheduler:
        assert scheduler.tenants() == {"a": wasmq.Tenant(weight=2.0), "b": wasmq.Tenant(weight=3.0)}
        await scheduler.set_tenant("c", wasmq.Tenant(weight=4.0))
        assert scheduler.tenants()["c"].weight == 4.0
        with pytest.raises(InvalidArguments, match="^tenant: "):
            await scheduler.set_tenant("c\n", wasmq.Tenant())
        scheduler.tenants().clear()
        assert len(scheduler.tenants()) == 3


# Start and stop.


async def test_impossible_settings_are_refused_at_once(make_scheduler):
    """Before anything starts, naming the key."""
    for options in ({"workers": 0}, {"quantum": 1}, {"engine": "fast"}, {"max_attempts": 0}, {"grace": -1.0}):
        (name,) = options
        with pytest.raises(ConfigError, match=rf"scheduler\.{name}"):
            make_scheduler(**options)
    with pytest.raises(ConfigError, match="names no store"):
        make_scheduler(store="redis://")
    assert children() == {}


async def test_a_scheduler_that_does_not_run_refuses_work(make_scheduler, guests):
    """Before it has started and after it has stopped; and it starts only once."""
    scheduler = make_scheduler()

    async def refused():
        for call in (
            scheduler.load(guests / "mul.wat"),
            scheduler.submit("d" * 64, "mul", 1, 2),
            scheduler.run("d" * 64, "mul", 1, 2),
            scheduler.submit_many([]),
            anext(scheduler.map("d" * 64, "mul", [(1, 2)])),
        ):
            with pytest.raises(SchedulerClosed, match="not running; use it inside 'async with"):
                await call

    assert (scheduler.live, scheduler.ready) == (False, False)
    await refused()
    async with asyncio.timeout(PATIENCE), scheduler:
        assert (scheduler.live, scheduler.ready) == (True, True)
        with pytest.raises(SchedulerClosed, match="runs once"):
            await scheduler.__aenter__()
    assert (scheduler.live, scheduler.ready) == (False, False)
    await refused()
    with pytest.raises(SchedulerClosed, match="runs once"):
        async with scheduler:
            pass
    await scheduler.stop()


async def test_workers_that_cannot_start_are_an_error_of_their_own(make_scheduler, monkeypatch, tmp_path):
    """The way in fails with one line, not wrapped, and leaves nothing."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no engine here' >&2\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(broken))
    with pytest.raises(WorkerUnavailable, match="no engine here"):
        async with running(make_scheduler):
            pytest.fail("it runs without workers")
    assert children() == {}


class Mishap(Exception):
    """An exception of the caller's own."""


async def test_exceptions_from_the_body_come_out_as_they_are(make_scheduler):
    """Unwrapped, without waiting for guests that still run, and with the workers gone."""
    with pytest.raises(Mishap, match="^mine$"):
        async with running(make_scheduler, grace=600.0) as scheduler:
            module = await scheduler.load(SPIN)
            job = await scheduler.submit(module, "spin", limits=ENDLESS)
            await until_running(scheduler, job.id)
            raise Mishap("mine")
    assert (await job).status == "cancelled"
    assert children() == {}


async def test_cancelling_the_body_cancels_it(make_scheduler):
    """A task that is cancelled inside the block ends as cancelled, and with it the scheduler."""
    inside = asyncio.Event()

    async def work():
        async with running(make_scheduler, grace=600.0) as scheduler:
            module = await scheduler.load(SPIN)
            inside.set()
            await scheduler.run(module, "spin", limits=ENDLESS)

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == {}


async def test_job_errors_and_refusals_come_out_as_they_are(make_scheduler, guests):
    """What `run` raises inside the block can be caught outside of it."""
    with pytest.raises(wasmq.Trapped):
        async with running(make_scheduler) as scheduler:
            await scheduler.run(await scheduler.load(guests / "traps.wat"), "unreachable")
    with pytest.raises(UnknownModule):
        async with running(make_scheduler) as scheduler:
            await scheduler.run("f00", "f")


async def test_an_embedding_program_hears_nothing(make_scheduler, guests, capfd, caplog):
    """Jobs that run and fail, a refusal, a start and a stop: not a word on stdout or stderr, not a warning logged."""
    async with running(make_scheduler) as scheduler:
        divide = await scheduler.load(guests / "divide.wat")
        await scheduler.run(divide, "divide", 4, 2)
        for args in ((1, 0), ("x", 0)):
            with pytest.raises(wasmq.WasmqError):
                await scheduler.run(divide, "divide", *args)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


async def test_two_schedulers_side_by_side(make_scheduler, guests):
    """Each has its own workers, modules and jobs."""
    async with running(make_scheduler) as one, running(make_scheduler, engine="interpreter") as other:
        mul = await one.load(guests / "mul.wat")
        with pytest.raises(UnknownModule):
            await other.run(mul, "mul", 2, 4)
        assert (await other.load(guests / "mul.wat")).digest == mul.digest
        results = await asyncio.gather(*(s.run(mul, "mul", 2, 4) for s in (one, other)))
        assert [outcome.engine for outcome in results] == ["native", "interpreter"]
        await until(lambda: len(workers()) == 2)
