"""Periodic jobs: each firing is one job, whoever else is there and whatever was missed."""

import msgspec
import pytest
from clocks import NOON, VirtualClock
from postgres import drop_schema, make_schema
from watching import running, until

import wasmq
from wasmq.config import Config, PeriodicConfig, StoreConfig
from wasmq.cron import Cron
from wasmq.errors import ConfigError, InvalidArguments, KeyConflict, QueueFull, SchedulerClosed, StoreUnavailable
from wasmq.periodic import Periodic
from wasmq.store import open_store
from wasmq.submission import Request

EVERY = Cron("*/5 * * * *")
REQUEST = Request(module="m", export="f")
GUEST = '(module (func (export "f") (param i32) (result i32) (local.get 0)))'


@pytest.fixture
def clock():
    """A clock that the test moves; it begins when EVERY fires."""
    assert NOON % 300 == 0
    return VirtualClock()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def reopen(request, tmp_path, clock):
    """Open the store as a daemon does that starts; a store in memory is the same one each time."""
    if request.param == "postgres":
        url = await make_schema(request.getfixturevalue("postgres_server"))
    else:
        url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/jobs.db"}[request.param]
    opened = []

    async def start():
        if request.param == "memory" and opened:
            return opened[0]
        await close()
        opened.append(open_store(url, StoreConfig(), clock))
        await opened[-1].open()
        return opened[-1]

    async def close():
        while opened:
            await opened.pop().close()

    yield start
    await close()
    if request.param == "postgres":
        await drop_schema(url)


class Submitted:
    """Takes requests, and raises `failure` if there is one."""

    def __init__(self):
        self.keys = []
        self.failure = None

    async def __call__(self, requests):
        if self.failure is not None:
            raise self.failure
        self.keys += [request.key for request in requests]


def daemon(store, clock, submitted, *, catch_up=True):
    """A periodic loop with one schedule."""
    periodic = Periodic(store=store, submit=submitted, clock=clock)
    periodic.set("five", EVERY, REQUEST, catch_up=catch_up)
    return periodic


def key(seconds):
    """The key of the firing so many seconds after the clock's beginning."""
    return f"periodic:five:{int(NOON + seconds)}"


async def test_each_firing_is_submitted_once(reopen, clock):
    """Not the one that is over at the start; then each at its time, and nothing between them."""
    submitted = Submitted()
    periodic = daemon(await reopen(), clock, submitted)
    assert await periodic.tick() == 300.0
    clock.now += 299.0
    assert await periodic.tick() == 1.0
    assert submitted.keys == []
    for _ in range(2):
        clock.now += 1.0
        assert await periodic.tick() == 300.0
        await periodic.tick()
        clock.now += 299.0
    assert submitted.keys == [key(300), key(600)]


async def test_a_restart_neither_doubles_nor_forgets(reopen, clock):
    """What was submitted is not submitted again; of three firings that were missed the last one is."""
    submitted = Submitted()
    await daemon(await reopen(), clock, submitted).tick()
    clock.now += 301.0
    await daemon(await reopen(), clock, submitted).tick()
    assert submitted.keys == [key(300)]
    clock.now += 1.0
    await daemon(await reopen(), clock, submitted).tick()
    assert submitted.keys == [key(300)]
    clock.now += 1000.0
    assert await daemon(await reopen(), clock, submitted).tick() == 198.0
    assert submitted.keys == [key(300), key(1200)]


async def test_without_catching_up_what_was_missed_is_over(reopen, clock):
    """The next firing comes at its time."""
    submitted = Submitted()
    await daemon(await reopen(), clock, submitted).tick()
    clock.now += 1001.0
    periodic = daemon(await reopen(), clock, submitted, catch_up=False)
    assert await periodic.tick() == 199.0
    assert submitted.keys == []
    clock.now += 199.0
    await periodic.tick()
    assert submitted.keys == [key(1200)]


async def test_of_several_daemons_one_submits(reopen, clock):
    """Those on one store have one firing between them."""
    submitted = Submitted()
    store = await reopen()
    daemons = [daemon(store, clock, submitted) for _ in range(3)]
    for seconds in range(0, 1500, 50):
        clock.now = NOON + seconds
        for periodic in daemons:
            await periodic.tick()
    assert submitted.keys == [key(300), key(600), key(900), key(1200)]


@pytest.mark.parametrize("failure", [QueueFull("full"), StoreUnavailable("away")])
async def test_a_firing_waits_for_room_and_for_the_store(reopen, clock, failure):
    """It is tried again every second, and submitted once."""
    submitted = Submitted()
    periodic = daemon(await reopen(), clock, submitted)
    await periodic.tick()
    clock.now += 300.0
    submitted.failure = failure
    assert [await periodic.tick() for _ in range(3)] == [1.0] * 3
    submitted.failure = None
    assert await periodic.tick() == 300.0
    assert submitted.keys == [key(300)]


async def test_a_firing_that_is_refused_is_not_tried_again(reopen, clock):
    """It would be refused again; the next one is tried."""
    submitted = Submitted()
    periodic = daemon(await reopen(), clock, submitted)
    await periodic.tick()
    clock.now += 300.0
    submitted.failure = KeyConflict("another call")
    assert await periodic.tick() == 300.0
    submitted.failure = None
    clock.now += 300.0
    await periodic.tick()
    assert submitted.keys == [key(600)]


async def test_a_scheduler_that_stops_fires_no_more(reopen, clock):
    """And the firing is left for the next start."""
    submitted = Submitted()
    periodic = daemon(await reopen(), clock, submitted)
    await periodic.tick()
    clock.now += 300.0
    submitted.failure = SchedulerClosed("stopping")
    with pytest.raises(SchedulerClosed):
        await periodic.tick()
    submitted.failure = None
    await daemon(await reopen(), clock, submitted).tick()
    assert submitted.keys == [key(300)]


async def test_a_schedule_that_was_removed_is_silent(reopen, clock):
    """It can be removed once."""
    submitted = Submitted()
    periodic = daemon(await reopen(), clock, submitted)
    await periodic.tick()
    assert (periodic.remove("five"), periodic.remove("five")) == (True, False)
    clock.now += 1000.0
    assert await periodic.tick() == 30.0
    assert submitted.keys == []


async def test_a_scheduler_runs_what_is_scheduled(make_scheduler, clock):
    """With its arguments and its tenant, under the firing's key; after `unschedule` no more."""
    async with running(make_scheduler, clock=clock) as scheduler:
        module = await scheduler.load(GUEST)
        await scheduler.schedule("five", "*/5 * * * *", module, "f", 7, tenant="acme")
        await scheduler._periodic.tick()
        clock.now += 300.0
        await scheduler._periodic.tick()
        (record,) = await scheduler.jobs(tenant="acme")
        assert record.job.key == key(300)
        assert (await scheduler.wait(record.job.id)).outcome.value == 7
        assert await scheduler.unschedule("five")
        assert not await scheduler.unschedule("five")
        clock.now += 300.0
        await scheduler._periodic.tick()
        assert len(await scheduler.jobs()) == 1
        with pytest.raises(InvalidArguments, match=r"'five': .* is no cron expression"):
            await scheduler.schedule("five", "often", module, "f", 7)
        with pytest.raises(InvalidArguments):
            await scheduler.schedule("five", "* * * * *", module, "f", "seven")


@pytest.mark.parametrize("by", ["schedule", "configuration"])
async def test_a_firing_may_wait_for_fuel(make_scheduler, config, tmp_path, clock, by):
    """Suspended as any job; its key and its tenant lead to it, and it goes on for what it is given."""
    file = tmp_path / "guest.wat"
    file.write_text(GUEST)
    limits = wasmq.Limits(fuel=1, suspend=30.0)
    if by == "configuration":
        entry = PeriodicConfig(
            cron="*/5 * * * *", module=str(file), export="f", args=(7,), limits=limits, on_exhausted="suspend"
        )
        config = msgspec.structs.replace(config, periodic={"five": entry})
    async with running(make_scheduler, clock=clock, config=config) as scheduler:
        if by == "schedule":
            module = await scheduler.load(file)
            await scheduler.schedule("five", "*/5 * * * *", module, "f", 7, limits=limits, on_exhausted="suspend")
        await scheduler._periodic.tick()
        clock.now += 300.0
        await scheduler._periodic.tick()
        (record,) = await scheduler.jobs()
        async for event in scheduler.events(record.id):
            if isinstance(event, wasmq.JobSuspended):
                assert (await scheduler.job(record.id)).suspended
                await scheduler.refuel(record.id, 100)
        assert (await scheduler.wait(record.id)).outcome.value == 7
        with pytest.raises(InvalidArguments, match="on_exhausted"):
            await scheduler.schedule("six", "* * * * *", record.module, "f", 7, on_exhausted="never")


async def test_the_configuration_schedules(make_scheduler, config, tmp_path):
    """A file's module, or a digest's, runs by the real clock; a reload puts others in place, or changes nothing."""
    file = tmp_path / "guest.wat"
    file.write_text(GUEST)
    entry = PeriodicConfig(cron="* * * * * *", module=str(file), export="f", args=(8,), limits=wasmq.Limits(fuel=999))
    start = msgspec.structs.replace(config, periodic={"quick": entry})
    async with running(make_scheduler, config=start) as scheduler:
        await until(lambda: scheduler._store.counts()["running"] or scheduler._fairness.virtual)
        record = (await scheduler.jobs())[-1]
        outcome = (await scheduler.wait(record.job.id)).outcome
        assert (outcome.value, record.job.caps.fuel) == (8, 999)
        assert record.job.key.startswith("periodic:quick:")
        wrong = {"other": PeriodicConfig(cron="* * * * *", module=str(tmp_path / "missing.wasm"))}
        with pytest.raises(ConfigError, match=r"^periodic\.other: .*missing\.wasm"):
            await scheduler.reload(msgspec.structs.replace(start, periodic=wrong))
        assert set(scheduler._periodic._schedules) == {"quick"}
        digest = record.job.call.module
        right = {"other": PeriodicConfig(cron="* * * * *", module=digest, export="f", args=(9,))}
        news = await scheduler.reload(msgspec.structs.replace(start, periodic=right))
        assert set(scheduler._periodic._schedules) == {"other"}
        assert "periodic.other.cron" in news.changed


def test_a_wrong_expression_is_a_wrong_configuration():
    """Named by its section, when the file is read."""
    with pytest.raises(ConfigError, match=r"periodic\.night.*'often' is no cron expression"):
        wasmq.load_config(environ={}, overrides={"periodic.night": {"cron": "often", "module": "m.wasm"}})
    assert Config().periodic == {}
