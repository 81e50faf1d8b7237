"""The gather loop: calls that arrive while one is under way ride together in the next, in one transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from wasmq.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskStatus

_T = TypeVar("_T")


class Gather(Generic[_T]):
    """Hands items to `work`, many at a time. While its loop does not run, each call goes by itself."""

    def __init__(self, work: Callable[[Sequence[_T]], Awaitable[None]], *, most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: list[tuple[Sequence[_T], asyncio.Future[None]]] = []
        self._bell = Bell()
        self._open = False

    async def add(self, items: Sequence[_T]) -> None:
        """Return when `work` has done these items; raises what it raises. They are done even if the caller gives up."""
        if not self._open:
            await self._work(items)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        self._bell.ring()
        await future

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Work until closed, and then what there is."""
        self._open = True
        task_status.started()
        try:
            while self._open or self._waiting:
                if not self._waiting:
                    await self._bell.wait()
                await self._round()
        finally:
            self._open = False
            for _, future in self._waiting:
                future.cancel()

    def close(self) -> None:
        """End the loop when it has done what was added before."""
        self._open = False
        self._bell.ring()

    async def _round(self) -> None:
        batch: list[_T] = []
        futures = []
        while self._waiting and (not batch or len(batch) + len(self._waiting[0][0]) <= self._most):
            items, future = self._waiting.pop(0)
            batch += items
            futures.append(future)
        if not batch:
            return
        error: Exception | None = None
        try:
            await self._work(batch)
        except Exception as raised:
            error = raised
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        for future in futures:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
