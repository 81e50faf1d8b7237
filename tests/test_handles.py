"""What a caller holds of a job."""

import asyncio

import pytest

from wasmq.errors import SchedulerClosed
from wasmq.handles import JobHandle
from wasmq.job import Outcome

OUTCOME = Outcome(status="trapped", error="trapped: unreachable")


async def _no_events(job_id):
    raise AssertionError("nobody asks")
    yield


async def _no_cancel(job):
    raise AssertionError(f"nobody cancelled {job}")


async def _no_refuel(job, fuel):
    raise AssertionError(f"nobody gave {job} {fuel} fuel")


async def _waiting(handle, count):
    """That many tasks that wait for a handle, each at its wait already."""

    async def wait():
        return await handle

    tasks = [asyncio.create_task(wait()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_everyone_who_waits_gets_the_outcome():
    """One settling wakes all who wait, and a failed job is an outcome like any other."""
    handle = JobHandle("a", _no_cancel, _no_events, _no_refuel)
    tasks = await _waiting(handle, 3)
    assert not any(task.done() for task in tasks)
    handle.settle(OUTCOME)
    assert await asyncio.gather(*tasks) == [OUTCOME] * 3


async def test_a_settled_handle_can_be_awaited_again_and_again():
    """The outcome stays, and awaiting it does not suspend."""
    handle = JobHandle("a", _no_cancel, _no_events, _no_refuel)
    assert handle.outcome is None
    handle.settle(OUTCOME)
    assert handle.outcome is OUTCOME
    assert await handle is OUTCOME
    assert await handle is OUTCOME


async def test_one_who_gives_up_waiting_disturbs_nobody():
    """Cancelling a task that waits neither cancels the job nor wakes the others."""
    handle = JobHandle("a", _no_cancel, _no_events, _no_refuel)
    first, second = await _waiting(handle, 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not second.done()
    handle.settle(OUTCOME)
    assert await second is OUTCOME
    assert await handle is OUTCOME


async def test_an_abandoned_handle_raises_for_everyone():
    """When no outcome will come, those who wait and those who come later hear why; nobody waits for ever."""
    handle = JobHandle("a", _no_cancel, _no_events, _no_refuel)
    (task,) = await _waiting(handle, 1)
    handle.abandon(SchedulerClosed("stopped"))
    with pytest.raises(SchedulerClosed, match="stopped"):
        await task
    with pytest.raises(SchedulerClosed, match="stopped"):
        await handle


async def test_cancel_asks_with_the_jobs_own_id():
    """The handle only passes the wish on, and gives back the answer."""
    asked = []

    async def cancel(job):
        asked.append(job)
        return len(asked) == 1

    handle = JobHandle("a", cancel, _no_events, _no_refuel)
    assert await handle.cancel() is True
    assert await handle.cancel() is False
    assert asked == ["a", "a"]


async def test_refuel_asks_with_the_jobs_own_id():
    """The handle passes the fuel on with its job's id, and gives back what the job may spend in all."""

    async def refuel(job, fuel):
        return {("a", 5): 105}[job, fuel]

    assert await JobHandle("a", _no_cancel, _no_events, refuel).refuel(5) == 105


async def test_a_handle_shows_its_job_and_how_it_stands():
    """Printed in a log or a debugger it says which job, and what became of it."""
    handle = JobHandle("a17", _no_cancel, _no_events, _no_refuel)
    assert repr(handle) == "<JobHandle a17 unfinished>"
    handle.settle(OUTCOME)
    assert repr(handle) == "<JobHandle a17 trapped>"
