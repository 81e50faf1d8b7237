"""What was granted is spent, reserved or free: whichever process is killed, with SIGKILL, while jobs run."""

import os
import signal
import subprocess
import sys

import pytest
from watching import running, until_running, worker_of

import wasmq
from wasmq.reconcile import reconcile_store

SPIN = """(module (func (export "spin") (loop $again (br $again))))"""
TENANTS = {"acme": wasmq.Tenant(fuel_budget=3 * 10**12, max_running=2)}
LIMITS = wasmq.Limits(fuel=10**12, memory="1MiB", timeout=600.0)


async def figures(scheduler):
    """What acme's account says: spent, reserved, jobs that run and their memory."""
    await reconcile_store(scheduler._store, scheduler._budgets.terms)
    account = await scheduler.account("acme")
    assert account.granted == account.spent + account.reserved + account.free == 3 * 10**12
    return account.spent, account.reserved, account.running, account.memory


async def test_a_killed_worker_costs_nothing(make_scheduler):
    """What its job had reserved goes back, and is reserved again when it starts again; lost, it is refunded."""
    async with running(make_scheduler, tenants=TENANTS, max_attempts=2) as scheduler:
        module = await scheduler.load(SPIN)
        job = await scheduler.submit(module, "spin", tenant="acme", limits=LIMITS)
        for attempt in (1, 2):
            await until_running(scheduler, job.id, attempt)
            assert await figures(scheduler) == (0, 10**12, 1, 2**20)
            os.kill(worker_of(scheduler, job.id), signal.SIGKILL)
        assert (await job).status == "lost"
        assert await figures(scheduler) == (0, 0, 0, 0)


CHILD = """
import asyncio, sys
import wasmq
async def main(url, directory, source):
    config = wasmq.Config(modules=wasmq.config.ModulesConfig(directory=directory))
    tenants = {"acme": wasmq.Tenant(fuel_budget=3 * 10**12, max_running=2)}
    limits = wasmq.Limits(fuel=10**12, memory="1MiB", timeout=600.0)
    async with wasmq.Scheduler(workers=1, store=url, config=config, tenants=tenants) as scheduler:
        module = await scheduler.load(source)
        jobs = [await scheduler.submit(module, "spin", tenant="acme", limits=limits) for _ in range(2)]
        while (await scheduler.account("acme")).running < 2:
            await asyncio.sleep(0.005)
        print(*[job.id for job in jobs], flush=True)
        await jobs[0]
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def url(tmp_path):
    """The store of a test."""
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def killed(url, cache):
    """The ids of two jobs that were running when their daemon was killed."""
    command = [sys.executable, "-c", CHILD, url, str(cache), SPIN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            return process.stdout.readline().split()
        finally:
            process.kill()


async def test_a_killed_daemons_reservations_go_back(make_scheduler, url, killed):
    """The next one finds them as they were, and each goes back once: with the attempt that follows, or the end."""
    first, second = killed
    async with running(make_scheduler, store=url, tenants=TENANTS, grace=0.0) as scheduler:
        before = await scheduler.account("acme")
        assert before.granted == before.reserved + before.free == 3 * 10**12
        await until_running(scheduler, first, attempt=2)
        await until_running(scheduler, second, attempt=2)
        assert await figures(scheduler) == (0, 2 * 10**12, 2, 2 * 2**20)
        await scheduler.cancel(first)
        spent = (await scheduler.wait(first)).outcome.fuel_used
        assert spent > 0
        assert await figures(scheduler) == (spent, 10**12, 1, 2**20)
    async with running(make_scheduler, store=url, tenants=TENANTS, grace=0.0) as scheduler:
        await scheduler.cancel(second)
        spent += (await scheduler.wait(second)).outcome.fuel_used
        assert await figures(scheduler) == (spent, 0, 0, 0)
