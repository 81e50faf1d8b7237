"""Task groups that are entered in one method and left in another, and work that outlives who waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

_T = TypeVar("_T")


async def apart(tasks: TaskGroup, work: Callable[[], Awaitable[_T]]) -> _T:
    """Do `work` in a task of the group and return or raise what comes of it.

    Whoever is cancelled while waiting here stops waiting; the work goes on to its end, whose exception nobody hears.
    """
    future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        try:
            result = await work()
        except Exception as error:
            if not future.done():
                future.set_exception(error)
        except BaseException:
            future.cancel()
            raise
        else:
            if not future.done():
                future.set_result(result)

    tasks.start_soon(run)
    return await future


async def leave(group: TaskGroup, error: BaseException | None) -> bool | None:
    """Leave a cancelled task group; returns whether it takes the cancellation that ends the block as its own.

    The caller's own exception goes on as it is, neither wrapped in a group nor swallowed with the cancellation.
    """
    if isinstance(error, asyncio.CancelledError):
        return await group.__aexit__(type(error), error, error.__traceback__)
    await group.__aexit__(None, None, None)
    return None
