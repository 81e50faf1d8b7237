"""The bound on waiting jobs: never passed, never leaking room, never forgetting who waits."""

import asyncio

import pytest

from wasmq.errors import QueueFull, SchedulerClosed
from wasmq.gate import Gate


def make_gate(limit, **tenants):
    """A gate with bounds for some tenants by name."""
    return Gate(limit, tenants.get)


async def enter_soon(gate, tenant, count=1):
    """A task that wants in and has had its first step."""
    task = asyncio.create_task(gate.enter({tenant: count}, wait=True))
    await asyncio.sleep(0)
    return task


async def settle():
    """Let everyone who has been woken take a step."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_limit_is_the_limit():
    """So many jobs get in, and the next is refused with the number and the tenant in the message."""
    gate = make_gate(2)
    await gate.enter({"a": 1}, wait=False)
    await gate.enter({"b": 1}, wait=False)
    with pytest.raises(QueueFull, match=r"the queue is full: 2 jobs may wait \(tenant 'a'\)"):
        await gate.enter({"a": 1}, wait=False)
    gate.leave("b", 1)
    await gate.enter({"a": 1}, wait=False)


async def test_a_tenants_own_limit_is_its_own():
    """One tenant at its bound is refused while another still gets in."""
    gate = make_gate(10, small=1)
    await gate.enter({"small": 1}, wait=False)
    with pytest.raises(QueueFull, match=r"1 jobs may wait \(tenant 'small'\)"):
        await gate.enter({"small": 1}, wait=False)
    await gate.enter({"other": 9}, wait=False)


async def test_what_can_never_fit_is_refused_even_to_those_who_would_wait():
    """A batch above the limit would wait for ever, so it does not wait at all."""
    gate = make_gate(10, small=2)
    with pytest.raises(QueueFull, match="11 jobs at once do not fit a queue of 10"):
        await gate.enter({"a": 11}, wait=True)
    with pytest.raises(QueueFull, match="3 jobs at once do not fit a queue of 2"):
        await gate.enter({"small": 3}, wait=True)


async def test_who_waits_gets_in_when_there_is_room_for_all_of_it():
    """A batch gets in whole, first come first served within a tenant."""
    gate = make_gate(3)
    await gate.enter({"a": 3}, wait=False)
    big = await enter_soon(gate, "a", 2)
    late = await enter_soon(gate, "a", 1)
    gate.leave("a", 1)
    await settle()
    assert not big.done()
    assert not late.done()
    gate.leave("a", 1)
    await settle()
    assert big.done()
    assert not late.done()
    gate.leave("a", 1)
    await late


async def test_nobody_overtakes_one_of_its_own_tenant():
    """While one of a tenant waits, the next of the same tenant waits behind it, or is refused."""
    gate = make_gate(2)
    await gate.enter({"a": 1}, wait=False)
    big = await enter_soon(gate, "a", 2)
    with pytest.raises(QueueFull):
        await gate.enter({"a": 1}, wait=False)
    gate.leave("a", 1)
    await big


async def test_tenants_that_wait_get_in_by_turns():
    """One tenant with many waiting submits does not keep another's single one outside."""
    gate = make_gate(1)
    await gate.enter({"a": 1}, wait=False)
    flood = [await enter_soon(gate, "a") for _ in range(10)]
    single = await enter_soon(gate, "b")
    gate.leave("a", 1)
    await settle()
    first = "b" if single.done() else "a"
    gate.leave(first, 1)
    await settle()
    assert single.done(), "tenant a had two turns in a row while b waited"
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_one_who_gives_up_waiting_leaves_nothing_behind():
    """The room it would have had is there for others, and those behind it move up at once."""
    gate = make_gate(10)
    await gate.enter({"a": 5}, wait=False)
    big = await enter_soon(gate, "a", 8)
    small = await enter_soon(gate, "a", 3)
    big.cancel()
    await settle()
    assert big.cancelled()
    assert small.done(), "nothing stands before it any more, and there is room"
    await gate.enter({"a": 2}, wait=False)
    with pytest.raises(QueueFull):
        await gate.enter({"b": 1}, wait=False)


async def test_one_who_gives_up_as_it_is_let_in_gives_the_room_back():
    """Room taken for a task that is being cancelled is not lost."""
    gate = make_gate(1)
    await gate.enter({"a": 1}, wait=False)
    first = await enter_soon(gate, "a")
    second = await enter_soon(gate, "a")
    gate.leave("a", 1)
    first.cancel()
    await settle()
    assert first.cancelled()
    await asyncio.wait_for(second, 5)


async def test_closing_refuses_everyone():
    """Those who wait and those who come are told that the scheduler is stopping."""
    gate = make_gate(1)
    await gate.enter({"a": 1}, wait=False)
    waiting = [await enter_soon(gate, tenant) for tenant in ("a", "a", "b")]
    gate.close()
    for task in waiting:
        with pytest.raises(SchedulerClosed, match="stopping"):
            await task
    with pytest.raises(SchedulerClosed, match="takes no more jobs"):
        await gate.enter({"a": 1}, wait=False)
    gate.leave("a", 1)


async def test_jobs_that_come_back_are_counted_beyond_the_limit():
    """A job accepted once is never turned away; new ones wait until it is gone again."""
    gate = make_gate(1)
    await gate.enter({"a": 1}, wait=False)
    gate.readmit("a", 1)
    waiting = await enter_soon(gate, "a")
    gate.leave("a", 1)
    await settle()
    assert not waiting.done()
    gate.leave("a", 1)
    await waiting


async def test_a_batch_of_several_tenants_gets_in_whole_or_waits_with_nothing():
    """Two batches that want the same room in opposite order do not wait for each other: neither holds a part."""
    gate = make_gate(10)
    await gate.enter({"c": 5}, wait=False)
    one = asyncio.create_task(gate.enter({"a": 4, "b": 4}, wait=True))
    other = asyncio.create_task(gate.enter({"b": 4, "a": 4}, wait=True))
    await settle()
    await gate.enter({"d": 5}, wait=False)
    gate.leave("c", 5)
    gate.leave("d", 5)
    await settle()
    assert one.done()
    assert not other.done()
    gate.leave("a", 4)
    gate.leave("b", 4)
    await other


async def test_several_tenants_together_must_fit_too():
    """What each could have is no help when all of it together is above the limit."""
    gate = make_gate(10)
    with pytest.raises(QueueFull, match="12 jobs at once do not fit a queue of 10"):
        await gate.enter({"a": 6, "b": 6}, wait=True)


async def test_a_bound_that_moves_counts_for_those_who_wait():
    """Raised, it lets them in; lowered below what they want, it sends them away: nobody waits for what cannot be."""
    bounds = {"a": 2}
    gate = Gate(10, bounds.get)
    await gate.enter({"a": 2}, wait=False)
    first = await enter_soon(gate, "a")
    big = await enter_soon(gate, "a", 2)
    bounds["a"] = 3
    gate.admit()
    await settle()
    assert first.done()
    assert not big.done()
    bounds["a"] = 1
    gate.admit()
    with pytest.raises(QueueFull, match="2 jobs at once do not fit a queue of 1"):
        await big


async def test_no_jobs_need_no_room():
    """An empty batch passes a full gate."""
    gate = make_gate(1)
    await gate.enter({"a": 1}, wait=False)
    await gate.enter({}, wait=False)
    await gate.enter({}, wait=True)


async def test_a_recount_lets_in_those_who_fit():
    """What others who share the queue have put or started counts from then on; nothing goes below zero."""
    gate = Gate(10, lambda _: None)
    await gate.enter({"x": 10}, wait=False)
    waiting = asyncio.ensure_future(gate.enter({"y": 3}, wait=True))
    await asyncio.sleep(0)
    gate.recount({"x": 8})
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.recount({"x": 2, "z": 5})
    await waiting
    with pytest.raises(QueueFull):
        await gate.enter({"x": 1}, wait=False)
    gate.leave("nobody", 4)
    gate.leave("z", 9)
    await gate.enter({"x": 5}, wait=False)
    with pytest.raises(QueueFull):
        await gate.enter({"x": 1}, wait=False)
