"""What arrives while one batch is under way rides in the next."""

import asyncio

import pytest

from wasmq.store.postgres.gather import Gather


class _Started:
    """Takes the news that a loop has started."""

    def started(self, value=None):
        """Take it."""


async def test_calls_ride_together():
    """The first goes alone, those that come meanwhile go together, and none is larger than allowed."""
    batches = []
    begun, go = asyncio.Event(), asyncio.Event()

    async def work(items):
        batches.append(list(items))
        begun.set()
        await go.wait()

    gather = Gather(work, most=4)
    async with asyncio.TaskGroup() as group:
        group.create_task(gather.run(task_status=_Started()))
        await asyncio.sleep(0)
        callers = [group.create_task(gather.add([0]))]
        await begun.wait()
        callers += [group.create_task(gather.add([number, number])) for number in range(1, 5)]
        callers.append(group.create_task(gather.add(range(9))))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*callers)
        gather.close()
    assert batches == [[0], [1, 1, 2, 2], [3, 3, 4, 4], list(range(9))]


async def test_an_error_is_everyones_of_its_batch():
    """It goes to all who rode along and nobody else, and the loop goes on; who has given up is not waited for."""
    fail = True

    async def work(items):
        if fail:
            raise OSError(str(items))

    gather = Gather(work, most=10)
    async with asyncio.TaskGroup() as group:
        group.create_task(gather.run(task_status=_Started()))
        await asyncio.sleep(0)
        gone, *callers = [asyncio.ensure_future(gather.add([number])) for number in range(3)]
        await asyncio.sleep(0)
        gone.cancel()
        assert [type(result) for result in await asyncio.gather(*callers, return_exceptions=True)] == [OSError, OSError]
        fail = False
        await gather.add([3])
        gather.close()
    assert gone.cancelled()


async def test_without_its_loop_it_works_at_once():
    """Before the loop has begun and after it has ended, each call goes by itself and raises its own error."""
    done = []

    async def work(items):
        done.append(list(items))
        if items == ["bad"]:
            raise ValueError("bad")

    gather = Gather(work, most=10)
    await gather.add([1])
    with pytest.raises(ValueError, match="bad"):
        await gather.add(["bad"])
    assert done == [[1], ["bad"]]
