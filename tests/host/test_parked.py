"""Guests whose host call is out: thousands of them, ended from outside, their workers killed, the scheduler stopped."""

import asyncio
import os
import signal
import threading

import anyio.from_thread
import pytest
from watching import ENDLESS, running, sample, until, worker_of

import wasmq
from guests import caller

MANY = 2_000


class Door:
    """A host function that does not return before it is let; it says who is inside and who was thrown out."""

    def __init__(self):
        self.inside = []
        self.thrown_out = []
        self.entered = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, call: wasmq.HostCall) -> int:
        self.inside.append(call)
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.thrown_out.append(call)
            raise
        return 7


@pytest.fixture
async def door():
    """One that is shut."""
    return Door()


def count(scheduler):
    """Calls that have come in."""
    return sample(scheduler, 'wasmq_host_calls_total{function="env.door"}') or 0


async def offer(scheduler, door):
    """Offer a door, and return a guest that goes through it."""
    scheduler.host_function("env", "door", tenants="*")(door)
    return await scheduler.load(caller("door", "", "i32"))


async def test_thousands_are_parked_while_others_run(make_scheduler, door):
    """In one worker: short jobs beside them have their answers, and all of them go on when theirs come."""
    async with asyncio.timeout(120), make_scheduler() as scheduler:
        module = await offer(scheduler, door)
        request = wasmq.Request(module=module.digest, export="call", limits=ENDLESS)
        parked = await scheduler.submit_many([request] * MANY)
        await until(lambda: count(scheduler) == MANY)
        products = [outcome.value async for outcome in scheduler.map(module, "mul", [(n, 2) for n in range(100)])]
        assert products == [2 * n for n in range(100)]
        assert all(job.outcome is None for job in parked)
        door.open.set()
        outcomes = [await job for job in parked]
        assert {(outcome.status, outcome.value) for outcome in outcomes} == {("succeeded", 7)}
        assert len({outcome.fuel_used for outcome in outcomes}) == 1


@pytest.mark.parametrize("way", ["cancel", "timeout"])
async def test_a_job_that_ends_takes_its_call_with_it(make_scheduler, door, way):
    """The coroutine is cancelled; the neighbour's is not."""
    async with running(make_scheduler) as scheduler:
        module = await offer(scheduler, door)
        neighbour = await scheduler.submit(module, "call", limits=ENDLESS)
        limits = wasmq.Limits(timeout=0.5) if way == "timeout" else ENDLESS
        job = await scheduler.submit(module, "call", limits=limits)
        await until(lambda: len(door.inside) == 2)
        if way == "cancel":
            await job.cancel()
        outcome = await job
        assert outcome.status == {"cancel": "cancelled", "timeout": "timed_out"}[way]
        assert outcome.fuel_used > scheduler.config.prices.host
        await until(lambda: door.thrown_out)
        assert [call.job for call in door.thrown_out] == [job.id]
        door.open.set()
        assert (await neighbour).value == 7


async def test_a_thread_that_nobody_waits_for_keeps_its_place_until_it_ends(make_scheduler, config):
    """Its result is dropped; no second thread runs beside it where there is room for one."""
    one = wasmq.Config(modules=config.modules, host=wasmq.config.HostConfig(threads=1))
    async with running(make_scheduler, config=one) as scheduler:
        entered, go_on = [], threading.Event()

        @scheduler.host_function("env", "door", tenants="*")
        def hold(call: wasmq.HostCall) -> int:
            entered.append(call.job)
            assert go_on.wait(30)
            return 7

        module = await scheduler.load(caller("door", "", "i32"))
        first = await scheduler.submit(module, "call", limits=ENDLESS)
        await until(lambda: entered)
        second, third = [await scheduler.submit(module, "call", limits=ENDLESS) for _ in range(2)]
        await until(lambda: count(scheduler) == 3)
        await first.cancel()
        assert (await first).status == "cancelled"
        # It waits for room, and is forgotten before there is any.
        await second.cancel()
        assert (await second).status == "cancelled"
        assert entered == [first.id]
        go_on.set()
        assert (await third).value == 7
        assert entered == [first.id, third.id]


@pytest.mark.parametrize("kills", [1, 2])
async def test_a_job_whose_worker_dies_meanwhile_runs_again(make_scheduler, door, kills):
    """And calls again, in another attempt; the first call is cancelled, and what it might answer harms nobody."""
    async with running(make_scheduler) as scheduler:
        module = await offer(scheduler, door)
        job = await scheduler.submit(module, "call", limits=ENDLESS)
        for kill in range(1, kills + 1):
            await until(lambda wanted=kill: len(door.inside) == wanted)
            os.kill(worker_of(scheduler, job.id), signal.SIGKILL)
            await until(lambda wanted=kill: len(door.thrown_out) == wanted)
        await until(lambda: len(door.inside) == kills + 1)
        door.open.set()
        outcome = await job
        assert (outcome.status, outcome.value, outcome.attempts) == ("succeeded", 7, kills + 1)
        assert [(call.attempt, call.number) for call in door.inside] == [(n + 1, 1) for n in range(kills + 1)]


async def test_a_thread_whose_worker_has_died_answers_into_the_void(make_scheduler):
    """Its answer comes when another attempt is under way, and is not taken for that one's."""
    async with running(make_scheduler) as scheduler:
        attempts, late = [], threading.Event()

        @scheduler.host_function("env", "door", tenants="*")
        def answer(call: wasmq.HostCall) -> int:
            attempts.append(call.attempt)
            if call.attempt == 1:
                assert late.wait(30)
                return 1
            late.set()
            return 2

        module = await scheduler.load(caller("door", "", "i32"))
        job = await scheduler.submit(module, "call", limits=ENDLESS)
        await until(lambda: attempts)
        os.kill(worker_of(scheduler, job.id), signal.SIGKILL)
        outcome = await job
        assert (outcome.value, outcome.attempts, attempts) == (2, 2, [1, 2])


@pytest.mark.parametrize("way", ["coroutine", "thread"])
async def test_a_host_function_may_run_jobs_itself(make_scheduler, way):
    """On the same scheduler, of the same module, which calls it again: only the deepest answers for itself."""
    async with running(make_scheduler) as scheduler:

        async def nested(depth: int) -> int:
            if depth == 0:
                return 0
            outcome = await scheduler.run(module, "call", depth - 1)
            return outcome.value + 1

        def from_thread(depth: int) -> int:
            return anyio.from_thread.run(nested, depth)

        scheduler.host_function("env", "f", tenants="*")(nested if way == "coroutine" else from_thread)
        module = await scheduler.load(caller("f", "i32", "i32"))
        assert (await scheduler.run(module, "call", 8)).value == 8


async def test_a_stop_gives_calls_their_grace(make_scheduler, door):
    """As it does running jobs: what answers in time succeeds."""
    async with running(make_scheduler, grace=600.0) as scheduler:
        module = await offer(scheduler, door)
        job = await scheduler.submit(module, "call", limits=ENDLESS)
        await door.entered.wait()
        stopping = asyncio.create_task(scheduler.stop())
        await asyncio.sleep(0)
        door.open.set()
        await stopping
        assert (await job).value == 7
        assert door.thrown_out == []


async def test_calls_that_outlast_the_grace_are_cancelled(make_scheduler, door):
    """With their jobs, by the time that the stop is through."""
    async with running(make_scheduler, grace=0.0) as scheduler:
        module = await offer(scheduler, door)
        jobs = [await scheduler.submit(module, "call", limits=ENDLESS) for _ in range(3)]
        await until(lambda: len(door.inside) == 3)
        await scheduler.stop()
        assert [(await job).status for job in jobs] == ["cancelled"] * 3
    assert len(door.thrown_out) == 3
