"""Identical calls in a running scheduler: run once, answered all, and each still a job of its own."""

from __future__ import annotations

import os
import signal
import sys

import anyio
import httpx
import msgspec
import pytest
from watching import ENDLESS, running, sample, until, until_running

import wasmq
from wasmq.config import Config, PricesConfig
from wasmq.server import build_app

LIMITS = wasmq.Limits(fuel=10**7, timeout=60.0)
"""Of a loop that spends it all. A batch is claimed together, so that none has ended before all of it are there."""


def counted(scheduler):
    """What became of the jobs that another's run could answer: kept answers, answers under way, runs."""
    return tuple(sample(scheduler, f'wasmq_result_reuse_total{{result="{each}"}}') for each in ("hit", "joined", "run"))


async def batch(scheduler, module, count=5, *, limits=LIMITS):
    """Submit a loop several times at once."""
    request = wasmq.Request(module=module.digest, export="spin", limits=limits, reuse="flight")
    return await scheduler.submit_many([request] * count)


async def test_calls_in_flight_are_run_once(make_scheduler, guests):
    """Each is a job with its outcome; the first has run and paid, the others say whose run it was."""
    async with running(make_scheduler) as scheduler:
        handles = await batch(scheduler, await scheduler.load(guests / "loop.wat"))
        first, *others = [await handle for handle in handles]
        assert counted(scheduler) == (0, 4, 1)
        assert (first.status, first.fuel_used, first.reused) == ("out_of_fuel", LIMITS.fuel, None)
        for handle, outcome in zip(handles[1:], others, strict=True):
            assert (outcome.status, outcome.reused) == ("out_of_fuel", handles[0].id)
            assert (outcome.fuel_used, outcome.fuel_saved, outcome.attempts) == (0, LIMITS.fuel, 1)
            assert outcome.receipt.result == first.receipt.result
            record = await scheduler.job(handle.id)
            assert (record.state, record.outcome) == ("finished", outcome)
        assert sample(scheduler, 'wasmq_fuel_consumed_total{tenant="default"}') == LIMITS.fuel


async def test_an_answer_that_is_kept_may_be_charged(make_scheduler, config, guests):
    """With `[prices] reuse = "full"` the bill is that of the run."""
    config = msgspec.structs.replace(config, prices=PricesConfig(reuse="full"))
    async with running(make_scheduler, config=config) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        outcomes = [await scheduler.run(mul, "mul", 6, 7, reuse="result") for _ in range(3)]
        assert counted(scheduler) == (2, 0, 1)
        assert [outcome.value for outcome in outcomes] == [42] * 3
        assert [(outcome.fuel_used, outcome.fuel_saved) for outcome in outcomes] == [(4, 0)] * 3
        assert [bool(outcome.reused) for outcome in outcomes] == [False, True, True]
        assert (await scheduler.run(mul, "mul", 6, 8, reuse="result")).value == 48
        assert (await scheduler.run(mul, "mul", 6, 7)).reused is None


async def test_a_tenant_may_want_it_for_all_its_jobs(make_scheduler, guests):
    """Its own setting counts where a job says nothing, and no tenant has another's answers."""
    tenants = {name: wasmq.Tenant(reuse="result") for name in ("acme", "other")}
    async with running(make_scheduler, tenants=tenants) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        for tenant, options, reused in (
            ("acme", {}, False),
            ("acme", {}, True),
            ("acme", {"reuse": "never"}, False),
            ("other", {}, False),
            ("other", {}, True),
        ):
            outcome = await scheduler.run(mul, "mul", 6, 7, tenant=tenant, **options)
            assert bool(outcome.reused) is reused
        with pytest.raises(wasmq.InvalidArguments, match="reuse: 'always'"):
            await scheduler.submit(mul, "mul", 6, 7, reuse="always")


async def test_a_call_that_could_differ_is_always_run(make_scheduler, guests):
    """WASI without `deterministic` is, however often it is asked for."""
    async with running(make_scheduler) as scheduler:
        hello = await scheduler.load(guests / "wasi" / "hello.wasm")
        for deterministic in (False, True):
            for _ in range(2):
                await (await scheduler.submit(hello, deterministic=deterministic, reuse="result"))
        assert counted(scheduler) == (1, 0, 1)


async def test_a_cancelled_leader_takes_nobody_with_it(make_scheduler, guests):
    """The next one runs; and of those that wait each can be cancelled by itself."""
    async with running(make_scheduler) as scheduler:
        handles = await batch(scheduler, await scheduler.load(guests / "loop.wat"), 4, limits=ENDLESS)
        await until_running(scheduler, handles[0].id)
        assert await handles[2].cancel()
        assert (await handles[2]).status == "cancelled"
        assert await handles[0].cancel()
        assert (await handles[0]).status == "cancelled"
        await until_running(scheduler, handles[1].id)
        assert not scheduler._pool.holds(handles[3].id)
        for handle in (handles[1], handles[3]):
            assert await handle.cancel()
            assert (await handle).status == "cancelled"
        assert len(scheduler._life.parts.reuse) == 0


async def one_runs(scheduler, handles):
    """Return once one of the jobs is with a worker and all others wait for it."""
    await until(lambda: len(scheduler._life.parts.reuse) == len(handles) - 1 and scheduler._pool.running == 1)


async def cancel_all(handles):
    """Cancel jobs, which then all have their outcome."""
    for handle in handles:
        await handle.cancel()
    assert [(await handle).status for handle in handles] == ["cancelled"] * len(handles)


async def test_a_dead_workers_leader_is_replaced(make_scheduler, guests):
    """Its worker killed, one of the jobs runs, and the others wait for that one."""
    async with running(make_scheduler) as scheduler:
        handles = await batch(scheduler, await scheduler.load(guests / "loop.wat"), limits=ENDLESS)
        await until_running(scheduler, handles[0].id)
        worker, _, _ = scheduler._pool.where(handles[0].id)
        os.kill(scheduler._crew._workers[worker].child.pid, signal.SIGKILL)
        await until(lambda: not scheduler._pool.holds(handles[0].id))
        await one_runs(scheduler, handles)
        await cancel_all(handles)
        assert sample(scheduler, 'wasmq_jobs_finished_total{status="cancelled",tenant="default"}') == 5


async def test_jobs_that_wait_are_there_after_a_stop(make_scheduler, tmp_path, guests):
    """On a durable store leaders and those that wait go back uncharged, and are run once by the next scheduler."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    async with running(make_scheduler, store=url, grace=0.0) as scheduler:
        handles = await batch(scheduler, await scheduler.load(guests / "loop.wat"), limits=ENDLESS)
        await one_runs(scheduler, handles)
    async with running(make_scheduler, store=url, grace=0.0) as scheduler:
        await one_runs(scheduler, handles)
        assert {(await scheduler.job(handle.id)).attempts for handle in handles} == {1}
        for handle in handles:
            assert await scheduler.cancel(handle.id)
            assert (await scheduler.wait(handle.id)).outcome.status == "cancelled"


async def test_jobs_that_wait_end_with_a_scheduler_in_memory(make_scheduler, guests):
    """As cancelled, as every other that has not ended."""
    async with running(make_scheduler, grace=0.0) as scheduler:
        handles = await batch(scheduler, await scheduler.load(guests / "loop.wat"), limits=ENDLESS)
        await until_running(scheduler, handles[0].id)
    assert [(await handle).status for handle in handles] == ["cancelled"] * 5


async def test_over_http_too(make_scheduler, guests):
    """A job says `reuse`, and its outcome whose run it was and what that saved."""
    async with running(make_scheduler) as scheduler:
        transport = httpx.ASGITransport(app=build_app(scheduler))
        async with wasmq.Client("http://localhost", transport=transport) as client:
            mul = await client.load(guests / "mul.wat")
            first, second = [await client.submit(mul, "mul", 6, 7, reuse="result") for _ in range(2)]
            assert (await first).reused is None
            assert ((await second).reused, (await second).fuel_saved, (await second).value) in (
                (first.id, 4, 42),
                (None, 0, 42),
            )
            third = await client.run(mul, "mul", 6, 7, reuse="result")
            assert (third.reused, third.fuel_used, third.fuel_saved) == (first.id, 0, 4)
            assert third.receipt == (await scheduler.jobs(limit=1))[0].outcome.receipt
            with pytest.raises(wasmq.WasmqError, match="reuse"):
                await client.run(mul, "mul", 6, 7, reuse="always")


async def test_a_storm_of_cancellations_leaves_nothing_behind(make_scheduler, guests):
    """A hundred identical jobs, all cancelled at once in any state: each has its outcome, and nobody waits."""
    async with running(make_scheduler) as scheduler:
        handles = await batch(scheduler, await scheduler.load(guests / "loop.wat"), 100, limits=ENDLESS)
        await until_running(scheduler, handles[0].id)
        for handle in handles[::-1]:
            await handle.cancel()
        assert {(await handle).status for handle in handles} == {"cancelled"}
        await until(lambda: not len(scheduler._life.parts.reuse) and not scheduler._pool.running)
        assert not scheduler._life.parts.reuse._flights


async def test_whoever_waits_for_a_run_can_be_watched(make_scheduler, guests):
    """It has started, and at its end its own outcome is told."""
    async with running(make_scheduler) as scheduler:
        handles = await batch(scheduler, await scheduler.load(guests / "loop.wat"), 2, limits=ENDLESS)
        await one_runs(scheduler, handles)
        events = handles[1].events()
        assert isinstance(await anext(events), wasmq.JobStarted)
        await handles[1].cancel()
        assert (await anext(events)).outcome == await handles[1]
        await handles[0].cancel()


KILLED = """
import asyncio, os, signal, sys
import wasmq
from wasmq.config import Config, ModulesConfig

async def main():
    async with wasmq.Scheduler(workers=1, store=sys.argv[1], config=Config()) as scheduler:
        loop = await scheduler.load(sys.argv[2])
        request = wasmq.Request(
            module=loop.digest, export="spin", limits=wasmq.Limits(fuel=10**12, timeout=600.0), reuse="flight"
        )
        handles = await scheduler.submit_many([request] * 4)
        while len(scheduler._life.parts.reuse) < 3:
            await asyncio.sleep(0.001)
        print(*[handle.id for handle in handles], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_jobs_that_wait_outlive_a_killed_daemon(make_scheduler, tmp_path, guests):
    """They were claimed as the leader was: the next daemon runs them, once for all, with the attempt counted."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    script = [sys.executable, "-c", KILLED, url, str(guests / "loop.wat")]
    died = await anyio.run_process(script, check=False)
    ids = died.stdout.decode().split()
    assert (len(ids), died.returncode) == (4, -signal.SIGKILL), died.stderr
    async with running(make_scheduler, store=url, config=Config(), grace=0.0) as scheduler:
        await until(lambda: len(scheduler._life.parts.reuse) == 3 and scheduler._pool.running == 1)
        assert {(await scheduler.job(each)).attempts for each in ids} == {2}
        for each in ids:
            assert await scheduler.cancel(each)
            assert (await scheduler.wait(each)).outcome.status == "cancelled"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request, tmp_path):
    """The URL of a store, one of each kind."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/jobs.db"}[request.param]


async def test_every_store_keeps_what_a_receipt_needs(make_scheduler, guests, store):
    """What is read back has the receipt that the handle had, whoever's run it was; and it can be replayed."""
    async with running(make_scheduler, store=store) as scheduler:
        handles = await batch(scheduler, await scheduler.load(guests / "loop.wat"), 3)
        outcomes = [await handle for handle in handles]
        assert counted(scheduler) == (0, 2, 1)
        for handle, outcome in zip(handles, outcomes, strict=True):
            kept = (await scheduler.job(handle.id)).outcome
            assert kept.receipt == outcome.receipt
            assert (kept.reused, kept.fuel_saved) == (outcome.reused, outcome.fuel_saved)
            assert (kept.receipt.deterministic, kept.receipt.fuel) == (True, LIMITS.fuel)
        assert (await scheduler.replay(handles[-1].id)).agrees
