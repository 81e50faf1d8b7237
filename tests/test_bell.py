"""The bell: rings are never lost, and several before anyone looks are one."""

import asyncio

import pytest

from wasmq.bell import Bell


async def test_a_ring_before_the_wait_is_not_lost():
    """Who comes after the ring does not wait, once."""
    bell = Bell()
    bell.ring()
    assert await bell.wait() is True
    assert await bell.wait(0.0) is False


async def test_several_rings_are_one():
    """The waiter looks once for all of them."""
    bell = Bell()
    for _ in range(5):
        bell.ring()
    assert await bell.wait() is True
    assert await bell.wait(0.0) is False


async def test_a_ring_wakes_the_waiter():
    """A wait without a timeout ends with the ring, whenever it comes."""
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    bell.ring()
    assert await waiting is True
    assert await bell.wait(0.0) is False


async def test_a_ring_while_the_woken_one_is_on_its_way_counts_with_it():
    """Between being woken and looking no ring goes missing: the look comes after all of them."""
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(60.0))
    await asyncio.sleep(0)
    bell.ring()
    await asyncio.sleep(0)
    bell.ring()
    assert await waiting is True


async def test_a_timeout_without_a_ring_says_so():
    """A wait that ends by its timeout returns False, and the bell goes on working."""
    bell = Bell()
    assert await bell.wait(0.0) is False
    bell.ring()
    assert await bell.wait(0.0) is True


async def test_a_cancelled_wait_keeps_the_ring():
    """A ring that met a waiter who was just cancelled is there for the next."""
    bell = Bell()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    bell.ring()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await bell.wait(0.0) is True
