"""Promises 1, 3 and 4 where daemons share a PostgreSQL store: servers restart, connections break, daemons die."""

import asyncio
import contextlib
import subprocess
import sys

import pytest
from postgres import drop_schema, execute, make_schema
from watching import ENDLESS, PATIENCE, running, until

import wasmq
from wasmq.config import Config, ModulesConfig, StoreConfig

LEASE = 2.0  # seconds; nothing here depends on how long it is, but for how long it takes


@pytest.fixture
def make_daemon(postgres_url, tmp_path):
    """How one of several daemons is made: each has a directory of its own for modules, as on a machine of its own."""
    made = 0

    def make(**options):
        nonlocal made
        made += 1
        config = Config(
            modules=ModulesConfig(directory=str(tmp_path / f"modules-{made}")),
            store=StoreConfig(lease=LEASE, timeout=20.0),
        )
        return wasmq.Scheduler(**{"workers": 1, "store": postgres_url, "config": config, **options})

    return make


async def test_daemons_share_the_work(make_daemon, guests):
    """Jobs submitted to one run in both, the module travels with them, and every outcome comes back."""
    async with running(make_daemon, instances=1) as one, running(make_daemon, instances=1) as two:
        loop = await one.load(guests / "loop.wat")
        await until(lambda: one._store._lease.others)
        hog = await one.submit(loop, "spin", limits=ENDLESS, priority=1)
        await until(lambda: one._pool.holds(hog.id) or two._pool.holds(hog.id))
        busy = one if one._pool.holds(hog.id) else two
        idle = two if busy is one else one
        # One is busy to the brim, so that the other must run this, wherever it was submitted.
        for scheduler in (one, two):
            outcome = await scheduler.run(loop.digest, "burn", 100)
            assert outcome.status == "succeeded"
        assert busy._pool.holds(hog.id)
        assert idle._library.all()
        # A cancel from where it does not run, told to where it does, and its outcome told back.
        assert await idle.cancel(hog.id)
        assert (await hog).status == "cancelled"
        assert one._handles == {}
        assert two._handles == {}


async def test_linked_jobs_run_in_another_daemon(make_daemon):
    """All their modules travel, and are compiled there to be linked."""
    mul_of = """(module
      (import "{}" "mul" (func $mul (param i32 i32) (result i32)))
      (func (export "mul") (param i32 i32) (result i32) (call $mul (local.get 0) (local.get 1))))"""
    async with running(make_daemon, instances=1) as one, running(make_daemon, instances=1) as two:
        inner = await one.load(
            '(module (func (export "spin") (loop $again (br $again))) (func (export "mul") '
            "(param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))"
        )
        outer, user = await one.load(mul_of.format("inner")), await one.load(mul_of.format("outer"))
        hog = await one.submit(inner, "spin", limits=ENDLESS, priority=1)
        await until(lambda: one._pool.holds(hog.id) or two._pool.holds(hog.id))
        # Whichever is idle runs these, and one of the submitters is the busy one.
        for scheduler in (one, two):
            link = {"inner": inner.digest, "outer": outer.digest}
            assert (await scheduler.run(user.digest, "mul", 2, 4, link=link)).value == 8
        assert one._pool.holds(hog.id) or two._pool.holds(hog.id)
        assert await one.cancel(hog.id)
        await hog


async def test_a_killed_daemons_jobs_run_in_another(make_daemon, postgres_url, guests, tmp_path):
    """All of them, those that it had claimed and those that it had not, each recorded once."""
    program = (
        "import asyncio, sys, wasmq\n"
        "from wasmq.config import Config, ModulesConfig, StoreConfig\n"
        "async def main():\n"
        f"    config = Config(modules=ModulesConfig(directory={str(tmp_path / 'doomed')!r}),"
        f" store=StoreConfig(lease={LEASE}))\n"
        f"    async with wasmq.Scheduler(workers=1, store={postgres_url!r}, config=config) as scheduler:\n"
        f"        loop = await scheduler.load({str(guests / 'loop.wat')!r})\n"
        "        hogs = [await scheduler.submit(loop, 'burn', 4 * 10**8) for _ in range(5)]\n"
        "        small = wasmq.Request(module=loop.digest, export='burn', args=(1,), priority=-1)\n"
        "        jobs = await scheduler.submit_many([small] * 200)\n"
        "        print(*(job.id for job in [*hogs, *jobs]), flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    doomed = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
    assert doomed.stdout is not None
    ids = (await doomed.stdout.readline()).decode().split()
    assert len(ids) == 205
    doomed.kill()
    await doomed.wait()
    async with running(make_daemon, workers=2) as other:
        records = [await other.wait(job_id, PATIENCE) for job_id in ids]
    assert {record.outcome.status for record in records} == {"succeeded"}
    assert any(record.attempts == 2 for record in records)
    assert max(record.attempts for record in records) == 2
    (row,) = await execute(postgres_url, "SELECT count(*) AS jobs, count(DISTINCT id) AS ids FROM wasmq_finished")
    assert tuple(row) == (205, 205)


async def test_a_job_whose_daemons_all_died_is_lost(make_daemon, postgres_url, guests):
    """A daemon's death spends an attempt; when there are none left the job ends as lost."""
    async with running(make_daemon, max_attempts=1, grace=0.0) as one:
        loop = await one.load(guests / "loop.wat")
        job = await one.submit(loop, "spin", limits=ENDLESS)
        await until(lambda: one._pool.holds(job.id))
        # As if another daemon had claimed it and died: this one is not the owner any more.
        await execute(postgres_url, "UPDATE wasmq_jobs SET owner = 7")
        assert (await job).status == "lost"
        assert "stopped without a word" in (await job).error


@contextlib.asynccontextmanager
async def under_load(scheduler, loop):
    """Sixteen callers run jobs, one after the other, until the body is done; gives the list of outcomes."""
    outcomes = []
    enough = asyncio.Event()

    async def caller():
        while not enough.is_set():
            try:
                outcomes.append(await scheduler.run(loop, "burn", 100))
            except wasmq.StoreUnavailable:
                continue

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(caller())
        yield outcomes
        enough.set()


async def more(outcomes):
    """Return when another hundred outcomes have come."""
    wanted = len(outcomes) + 100
    await until(lambda: len(outcomes) >= wanted)


async def test_cut_connections_stop_nothing(make_daemon, postgres_url, guests):
    """Every connection of the daemon is cut, again and again, while it works; it goes on, and nothing is lost."""
    async with running(make_daemon) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        async with under_load(scheduler, loop) as outcomes:
            for _ in range(5):
                await more(outcomes)
                await execute(
                    postgres_url,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND query LIKE '%wasmq_%'",
                )
            await more(outcomes)
        assert scheduler.live
        assert {outcome.status for outcome in outcomes} == {"succeeded"}
        assert scheduler._handles == {}


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_of_the_server_stops_nothing(postgres_cluster, guests, tmp_path, mode):
    """The server goes away in good order or crashes, stays away for a moment, and comes back: so does the work."""
    url = await make_schema(postgres_cluster.url)
    modules = ModulesConfig(directory=str(tmp_path / "modules"))
    config = Config(modules=modules, store=StoreConfig(lease=LEASE, timeout=1.0))
    async with running(wasmq.Scheduler, workers=1, store=url, config=config) as scheduler:
        loop = await scheduler.load(guests / "loop.wat")
        async with under_load(scheduler, loop) as outcomes:
            await more(outcomes)
            await asyncio.to_thread(postgres_cluster.stop, mode)
            try:
                await until(lambda: not scheduler.live)
                with pytest.raises(wasmq.StoreUnavailable, match="does not answer"):
                    await scheduler.submit(loop, "burn", 1)
            finally:
                await asyncio.to_thread(postgres_cluster.start)
            await more(outcomes)
            await until(lambda: scheduler.live)
        assert {outcome.status for outcome in outcomes} == {"succeeded"}
    await drop_schema(url)


async def test_a_daemon_stops_while_the_server_is_away(postgres_cluster, guests, tmp_path):
    """It does not wait for the server for ever, and what it could not hand back runs elsewhere later."""
    url = await make_schema(postgres_cluster.url)
    modules = ModulesConfig(directory=str(tmp_path / "modules"))
    config = Config(modules=modules, store=StoreConfig(lease=LEASE, timeout=1.0))
    options = {"workers": 1, "store": url, "config": config, "grace": 0.0}
    try:
        async with running(wasmq.Scheduler, **options) as scheduler:
            loop = await scheduler.load(guests / "loop.wat")
            # It takes longer than a server that is told to stop.
            limits = wasmq.Limits(fuel=10**10, timeout=600.0)
            job = await scheduler.submit(loop, "burn", 2 * 10**9, limits=limits)
            await until(lambda: scheduler._pool.holds(job.id))
            await asyncio.to_thread(postgres_cluster.stop)
    finally:
        await asyncio.to_thread(postgres_cluster.start)
    with pytest.raises(wasmq.SchedulerClosed):
        await job
    async with running(wasmq.Scheduler, **options) as scheduler:
        record = await scheduler.wait(job.id, PATIENCE)
        assert (record.outcome.status, record.attempts) == ("succeeded", 2)
    await drop_schema(url)
