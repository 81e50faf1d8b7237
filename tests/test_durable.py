"""A scheduler whose jobs outlive it: what one has accepted the next one finishes."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from watching import ENDLESS, running, sample, until, until_running

import wasmq
from wasmq.config import Config, HostConfig, HostFunctionConfig, ModulesConfig
from wasmq.errors import ConfigError, StoreUnavailable, UnknownModule
from wasmq.store.sqlite.operations import Put

SPIN = """(module
  (func (export "spin") (loop $again (br $again)))
  (func (export "mul") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))"""

MUL_OF = """(module
  (import "env" "mul" (func $mul (param i32 i32) (result i32)))
  (func (export "mul") (param i32 i32) (result i32) (call $mul (local.get 0) (local.get 1))))"""


@pytest.fixture
def url(tmp_path):
    """The store of a test."""
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def resume(make_scheduler, url):
    """Run a scheduler on the test's store, as often as one likes; modules are kept beside the store."""

    @asynccontextmanager
    async def start(**options):
        async with running(make_scheduler, **{"store": url, "config": Config(), **options}) as scheduler:
            yield scheduler

    return start


async def test_queued_jobs_run_at_the_next_start(resume):
    """With the module fetched from beside the store, and with their own ids, keys and delays."""
    async with resume(grace=0.0) as scheduler:
        module = await scheduler.load(SPIN)
        delayed = await scheduler.submit(module, "mul", 2, 4, delay=3600.0, key="k")
        held = [await scheduler.submit(module, "mul", number, 7, delay=0.3) for number in range(5)]
    for handle in (delayed, *held):
        with pytest.raises(wasmq.SchedulerClosed, match=f"stopped before job {handle.id}"):
            await handle
    async with resume() as scheduler:
        records = [await scheduler.wait(handle.id) for handle in held]
        assert [record.outcome.value for record in records] == [number * 7 for number in range(5)]
        assert [record.attempts for record in records] == [1] * 5
        assert (await scheduler.job(delayed.id)).state == "queued"
        again = await scheduler.submit(module, "mul", 2, 4, key="k")
        assert again.id == delayed.id
        assert await again.cancel()
        assert (await again).status == "cancelled"
        assert sample(scheduler, 'wasmq_jobs{state="queued"}') == 0.0


async def test_a_running_job_that_is_cut_off_goes_back_uncharged(resume):
    """At the end of the grace it is handed back, and the next scheduler counts its first attempt."""
    async with resume(grace=0.0) as scheduler:
        job = await scheduler.submit(await scheduler.load(SPIN), "spin", limits=ENDLESS)
        await until_running(scheduler, job.id)
    async with resume(grace=0.0) as scheduler:
        await until_running(scheduler, job.id, attempt=2)
        assert (await scheduler.job(job.id)).attempts == 1
        assert await scheduler.cancel(job.id)
        assert (await scheduler.wait(job.id)).outcome.status == "cancelled"


async def test_finished_jobs_can_be_asked_for_later(resume, guests):
    """Outcomes are there in the next scheduler, and a key used before gives the earlier job with its outcome."""
    async with resume() as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        job = await scheduler.submit(mul, "mul", 2, 4, key="k")
        outcome = await job
    async with resume() as scheduler:
        assert (await scheduler.job(job.id)).outcome == outcome
        # The digest is enough: the module is known to the store's directory.
        again = await scheduler.submit(mul.digest, "mul", 2, 4, key="k")
        assert (again.id, await again) == (job.id, outcome)
        with pytest.raises(UnknownModule):
            await scheduler.submit("f" * 64, "mul", 2, 4)


async def test_a_job_whose_module_is_gone_is_lost(resume, guests, tmp_path):
    """It says so, and nobody waits for it for ever; jobs of other modules are not held up."""
    async with resume(grace=0.0) as scheduler:
        gone = await scheduler.load(SPIN)
        lost = await scheduler.submit(gone, "mul", 2, 4, delay=0.2)
        kept = await scheduler.submit(await scheduler.load(guests / "mul.wat"), "mul", 2, 4, delay=0.2)
    for file in (tmp_path / "jobs.db-modules").rglob(f"{gone.digest}*"):
        file.unlink()
    async with resume() as scheduler:
        outcome = (await scheduler.wait(lost.id)).outcome
        assert outcome.status == "lost"
        assert outcome.error.startswith(f"lost: its module cannot be had any more: module {gone.digest} is not in ")
        assert (await scheduler.wait(kept.id)).outcome.value == 8


async def test_linked_jobs_run_at_the_next_start(resume):
    """With all of their modules fetched, those that a linked one needs included, and compiled to be linked."""
    async with resume(grace=0.0) as scheduler:
        inner = await scheduler.load(SPIN)
        outer = await scheduler.load(MUL_OF.replace("env", "inner"))
        user = await scheduler.load(MUL_OF.replace("env", "outer"))
        link = {"inner": inner, "outer": outer}
        held = [await scheduler.submit(user, "mul", number, 7, delay=0.3, link=link) for number in range(5)]
    async with resume() as scheduler:
        assert scheduler.modules() == []
        records = [await scheduler.wait(handle.id) for handle in held]
        assert [record.outcome.value for record in records] == [number * 7 for number in range(5)]
        digests = {name: module.digest for name, module in link.items()}
        assert (await scheduler.run(user.digest, "mul", 2, 4, link=digests)).value == 8


async def test_more_modules_than_may_be_loaded_lose_no_job(resume, tmp_path):
    """Those in use stay, the others make room, and workers forget them too; submitting brings them back."""
    answers = [f'(module (func (export "f") (result i32) (i32.const {number})))' for number in range(12)]
    caller = '(module (import "inner" "f" (func $f (result i32))) (func (export "f") (result i32) (call $f)))'
    async with resume(grace=0.0) as scheduler:
        spin, outer = await scheduler.load(SPIN), await scheduler.load(caller)
        hog = await scheduler.submit(spin, "spin", limits=ENDLESS, delay=0.1)
        modules = [await scheduler.load(answer) for answer in answers]
        plain = [await scheduler.submit(module, "f", delay=0.2) for module in modules]
        linked = [await scheduler.submit(outer, "f", delay=0.2, link={"inner": module}) for module in modules]
    few = Config(modules=ModulesConfig(directory=str(tmp_path / "jobs.db-modules"), max_loaded=2))
    async with resume(config=few, workers=1) as scheduler:
        for handles in (plain, linked):
            for number, handle in enumerate(handles):
                assert (await scheduler.wait(handle.id)).outcome.value == number
        # By what comes back in a batch of more than may be loaded, too.
        requests = [wasmq.Request(module=outer.digest, export="f", link={"inner": module}) for module in modules]
        handles = await scheduler.submit_many(requests)
        assert [(await handle).value for handle in handles] == list(range(12))
        assert (await scheduler.run(modules[0], "f")).value == 0
        assert spin.digest in {module.digest for module in scheduler.modules()}
        assert len(scheduler.modules()) <= 4
        # A worker keeps what is loaded, and what was since it was told last.
        (worker,) = scheduler._pool._workers.values()
        assert len(worker.mapped) <= 12
        assert await scheduler.cancel(hog.id)
        assert (await scheduler.wait(hog.id)).outcome.status == "cancelled"


async def test_one_tenants_modules_keep_nobody_out(resume, tmp_path):
    """More of them than may be loaded push each other out, and what was there before comes back when it is wanted."""
    few = Config(modules=ModulesConfig(directory=str(tmp_path / "jobs.db-modules"), max_loaded=2))
    async with resume(config=few, workers=1) as scheduler:
        mine = await scheduler.load('(module (func (export "f") (result i32) (i32.const 77)))')
        for number in range(5):
            await scheduler.load(f'(module (func (export "f") (result i32) (i32.const {number})))')
        assert len(scheduler.modules()) == 2
        assert (await scheduler.run(mine, "f")).value == 77
        # Only what is in use is never pushed out.
        spin = await scheduler.load(SPIN)
        hog = await scheduler.submit(spin, "spin", limits=ENDLESS)
        await until_running(scheduler, hog.id)
        await scheduler.load('(module (func (export "g")))')
        assert spin.digest in {module.digest for module in scheduler.modules()}
        assert await hog.cancel()


@pytest.mark.parametrize("linked", [False, True])
async def test_a_job_whose_host_function_is_gone_is_lost(resume, linked):
    """One line says which one, before a worker sees the job; with the function offered again the next job runs."""
    mul = HostFunctionConfig(path="operator:mul", params=("i32", "i32"), results=("i32",), tenants=("*",))
    offered = Config(host=HostConfig(functions={"env.mul": mul}))
    async with resume(grace=0.0, config=offered) as scheduler:
        module = await scheduler.load(MUL_OF)
        main, link = module, {}
        if linked:
            main, link = await scheduler.load(MUL_OF.replace("env", "inner")), {"inner": module}
        job = await scheduler.submit(main, "mul", 2, 4, delay=0.2, link=link)
    async with resume() as scheduler:
        outcome = (await scheduler.wait(job.id)).outcome
        assert outcome.status == "lost"
        assert outcome.error == (
            f"lost: module {module.digest[:12]}: nobody offers the import env.mul "
            "(func (param i32 i32) (result i32)); "
            "offer every host function that waiting jobs import before the scheduler starts"
        )
        assert (outcome.worker, outcome.attempts) == (None, 1)
    async with resume(config=offered) as scheduler:
        assert (await scheduler.run(main.digest, "mul", 2, 4, link=link)).value == 8


async def test_a_module_is_compiled_again_from_its_bytes(resume, tmp_path):
    """What the engine made of it may be gone, as after an upgrade: the bytes are enough."""
    async with resume(grace=0.0) as scheduler:
        module = await scheduler.load(SPIN)
        job = await scheduler.submit(module, "mul", 2, 4, delay=0.2)
    for file in (tmp_path / "jobs.db-modules").rglob(f"{module.digest}.cwasm"):
        file.unlink()
    async with resume() as scheduler:
        assert (await scheduler.wait(job.id)).outcome.value == 8
        assert sample(scheduler, 'wasmq_module_cache_total{result="miss"}') == 1.0


async def test_the_directory_of_the_configuration_is_used(make_scheduler, url, tmp_path):
    """Modules lie beside the store only where nothing else is said."""
    config = Config(modules=ModulesConfig(directory=str(tmp_path / "elsewhere")))
    async with running(make_scheduler, store=url, config=config) as scheduler:
        module = await scheduler.load(SPIN)
    assert not (tmp_path / "jobs.db-modules").exists()
    assert (tmp_path / "elsewhere" / "modules" / f"{module.digest}.wasm").exists()


async def test_modules_that_cannot_be_kept_are_an_error_at_the_start(make_scheduler, url, tmp_path):
    """Jobs that outlive the process would lose them; the store can be had by others afterwards."""
    (tmp_path / "file").touch()
    config = Config(modules=ModulesConfig(directory=str(tmp_path / "file")))
    with pytest.raises(ConfigError, match=r"^modules\.directory: .*file"):
        async with running(make_scheduler, store=url, config=config):
            pytest.fail("it runs")
    async with running(make_scheduler, store=url, config=Config()):
        pass


async def test_two_schedulers_do_not_share_a_file(resume):
    """The second says whose it is."""
    async with resume():
        with pytest.raises(ConfigError, match="is in use by process"):
            async with resume():
                pytest.fail("it runs")


async def test_cancelling_a_submit_cancels_what_it_submitted(resume, monkeypatch):
    """Whoever stops waiting for `submit` has no handle: the job that was accepted meanwhile does not run."""
    async with resume() as scheduler:
        module = await scheduler.load(SPIN)
        await (await scheduler.submit(module, "mul", 2, 4, key="k"))
        add = scheduler._store._writer.add
        under_way = asyncio.Event()

        def seen(operation):
            if isinstance(operation, Put):
                under_way.set()
            return add(operation)

        monkeypatch.setattr(scheduler._store._writer, "add", seen)
        # One that is accepted, and two that are not: a key used before, for the same call and for another one.
        for options in ({}, {"key": "k", "export": "mul", "args": (2, 4)}, {"key": "k"}):
            request = {"export": "spin", "args": (), "limits": ENDLESS} | options
            task = asyncio.create_task(scheduler.submit_many([wasmq.Request(module=module.digest, **request)]))
            await under_way.wait()
            under_way.clear()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: scheduler._gate._queued == 0 and not scheduler._handles)
        records = await scheduler.jobs()
        assert [(await scheduler.wait(record.job.id)).outcome.status for record in records] == [
            "cancelled",
            "succeeded",
        ]
        assert (await scheduler.run(module, "mul", 2, 4)).value == 8


async def test_a_store_that_cannot_record_now_is_tried_again(resume, monkeypatch):
    """Claims, outcomes and releases wait for it; submits and cancels are told; nothing accepted is lost."""
    async with resume() as scheduler:
        module = await scheduler.load(SPIN)
        before = await scheduler.submit(module, "mul", 2, 4, delay=0.1)
        commit = scheduler._store._writer._commit
        failed = []

        def broken(operations):
            failed.extend(type(operation).__name__ for operation in operations)
            return [StoreUnavailable("the disk is full")] * len(operations)

        scheduler._store._writer._commit = broken
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            await scheduler.submit(module, "mul", 2, 4)
        with pytest.raises(StoreUnavailable):
            await before.cancel()
        await until(lambda: "Claim" in failed)
        scheduler._store._writer._commit = commit
        assert (await before).value == 8
        later = await scheduler.submit(module, "spin", limits=ENDLESS)
        await until_running(scheduler, later.id)
        scheduler._store._writer._commit = broken
        scheduler._crew.send(scheduler._pool.cancel([later.id]))
        await until(lambda: failed.count("Finish") > 1)
        assert later.outcome is None
        scheduler._store._writer._commit = commit
        assert (await later).status == "cancelled"
        assert scheduler._gate._queued == 0


CHILD = """
import asyncio, sys
import wasmq
async def main(url, directory, source):
    config = wasmq.Config(modules=wasmq.config.ModulesConfig(directory=directory))
    async with wasmq.Scheduler(workers=1, store=url, config=config) as scheduler:
        module = await scheduler.load(source)
        job = await scheduler.submit(module, "spin", limits=wasmq.Limits(fuel=10**12, timeout=600.0))
        while (await scheduler.job(job.id)).state != "running":
            pass
        print(job.id, flush=True)
        await job
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def killed(url, cache):
    """The id of a job that was running when its daemon was killed."""
    command = [sys.executable, "-c", CHILD, url, str(cache), SPIN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            return process.stdout.readline().strip()
        finally:
            process.kill()


async def test_what_ran_when_the_daemon_was_killed_runs_again(make_scheduler, url, killed):
    """Soon, with the attempt that died counted."""
    async with running(make_scheduler, store=url, grace=0.0) as scheduler:
        await until_running(scheduler, killed, attempt=2)
        assert (await scheduler.job(killed)).attempts == 2
        assert sample(scheduler, 'wasmq_jobs{state="running"}') == 1.0


async def test_a_job_whose_last_attempt_died_with_the_daemon_is_lost(make_scheduler, url, killed):
    """It is not started more often than it may be, and says why."""
    async with running(make_scheduler, store=url, max_attempts=1) as scheduler:
        outcome = (await scheduler.wait(killed)).outcome
    assert (outcome.status, outcome.attempts) == ("lost", 1)
    assert outcome.error == "lost: its worker died in each of 1 attempt; last: the daemon died while it ran"
