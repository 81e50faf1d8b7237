"""The public surface, line by line: what is promised to who writes `async with wasmq.Scheduler(...)`."""

import asyncio
import math
import struct

import pytest
from watching import ENDLESS, PATIENCE, children, running, sample, until, until_running, workers

import wasmq
from wasmq.config import Config
from wasmq.errors import (
    ConfigError,
    InvalidArguments,
    SchedulerClosed,
    UnknownModule,
    WorkerUnavailable,
)

# "spin" runs until somebody ends it, "mul" has its answer at once.
SPIN = """(module
  (func (export "spin") (loop $again (br $again)))
  (func (export "mul") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))"""


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
        assert record.job.caps == wasmq.job.Caps(10_000, 2**20, 5.0, 65_536, 16 * 2**20)


async def test_awaiting_never_raises_for_what_the_guest_did(make_scheduler, guests):
    """A failed job is an outcome to who awaits its handle, an exception with the same outcome to who runs it."""
    async with running(make_scheduler) as scheduler:
        divide = await scheduler.load(guests / "divide.wat")
        outcome = await (await scheduler.submit(divide, "divide", 1, 0))
        assert outcome.status == "trapped"
        with pytest.raises(wasmq.Trapped, match=r"trapped: .*divide by zero") as caught:
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
        assert sample(scheduler, 'wasmq_jobs_submitted_total{tenant="acme"}') == 3.0
        assert sample(scheduler, 'wasmq_jobs_finished_total{status="succeeded",tenant="acme"}') == 3.0
        assert sample(scheduler, 'wasmq_fuel_consumed_total{tenant="acme"}') == 12.0
        assert sample(scheduler, "wasmq_job_wait_seconds_count") == 3.0
        assert sample(scheduler, 'wasmq_jobs{state="queued"}') == 1.0
        assert sample(scheduler, 'wasmq_jobs{state="running"}') == 0.0
        assert sample(scheduler, "wasmq_workers") == 1.0


async def test_tenants_come_from_both_sides(make_scheduler, config):
    """The argument goes over the configuration; what is set later goes over both; the names are checked."""
    config = Config(modules=config.modules, tenants={"a": wasmq.Tenant(weight=2.0), "b": wasmq.Tenant()})
    async with running(make_scheduler, config=config, tenants={"b": wasmq.Tenant(weight=3.0)}) as scheduler:
        assert scheduler.tenants() == {"a": wasmq.Tenant(weight=2.0), "b": wasmq.Tenant(weight=3.0)}
        await scheduler.set_tenant("c", wasmq.Tenant(weight=4.0))
        assert scheduler.tenants()["c"].weight == 4.0
        with pytest.raises(InvalidArguments, match=r"^tenant: "):
            await scheduler.set_tenant("c\n", wasmq.Tenant())
        scheduler.tenants().clear()
        assert len(scheduler.tenants()) == 3


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
    with pytest.raises(Mishap, match=r"^mine$"):  # noqa: PT012
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
