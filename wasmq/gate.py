"""The bound on waiting jobs: who may queue now, and who waits for room."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from wasmq.errors import QueueFull, SchedulerClosed

if TYPE_CHECKING:
    from collections.abc import Callable


class Gate:
    """Counts the jobs that wait, in all and by tenant. `tenant_limit` gives a tenant's own bound, None for none."""

    def __init__(self, limit: int, tenant_limit: Callable[[str], int | None]) -> None:
        self.limit = limit
        self.open = True
        self._tenant_limit = tenant_limit
        self._queued = 0
        self._by_tenant: dict[str, int] = {}
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}

    async def enter(self, tenant: str, count: int, *, wait: bool) -> None:
        """Take room for `count` jobs of one tenant, waiting for it if told to.

        Raises `QueueFull` without `wait`, or when there can never be so much room; `SchedulerClosed` once closed.
        """
        self._check_open()
        if self._fits(tenant, count) and tenant not in self._waiting:
            self._take(tenant, count)
            return
        limit = self._limit_of(tenant)
        if count > limit:
            raise QueueFull(f"{count} jobs at once do not fit a queue of {limit} (tenant {tenant!r})")
        if not wait:
            raise QueueFull(f"the queue is full: {limit} jobs may wait (tenant {tenant!r}); try again later")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(tenant, deque())
        queue.append((count, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.leave(tenant, count)
            else:
                self._forget(tenant, count, future)
            raise

    def readmit(self, tenant: str, count: int) -> None:
        """Count jobs that wait again: they were accepted before, so there is always room for them."""
        self._take(tenant, count)

    def leave(self, tenant: str, count: int) -> None:
        """Give room back, and let in those who wait and fit."""
        self._queued -= count
        left = self._by_tenant[tenant] - count
        if left:
            self._by_tenant[tenant] = left
        else:
            del self._by_tenant[tenant]
        if self._waiting:
            self._admit()

    def close(self) -> None:
        """Refuse everyone from now on, those who wait included."""
        self.open = False
        for queue in self._waiting.values():
            for _, future in queue:
                if not future.done():
                    future.set_exception(SchedulerClosed("the scheduler is stopping"))
        self._waiting.clear()

    def _admit(self) -> None:
        for tenant in list(self._waiting):
            queue = self._waiting[tenant]
            while queue and (queue[0][1].done() or self._fits(tenant, queue[0][0])):
                count, future = queue.popleft()
                if not future.done():
                    self._take(tenant, count)
                    future.set_result(None)
            if not queue:
                del self._waiting[tenant]
            else:
                # Round robin: the tenant that got room goes behind the others.
                self._waiting[tenant] = self._waiting.pop(tenant)

    def _forget(self, tenant: str, count: int, future: asyncio.Future[None]) -> None:
        queue = self._waiting.get(tenant)
        if queue is not None and (count, future) in queue:
            queue.remove((count, future))
            if not queue:
                del self._waiting[tenant]

    def _fits(self, tenant: str, count: int) -> bool:
        if self._queued + count > self.limit:
            return False
        own = self._tenant_limit(tenant)
        return own is None or self._by_tenant.get(tenant, 0) + count <= own

    def _limit_of(self, tenant: str) -> int:
        own = self._tenant_limit(tenant)
        return self.limit if own is None else min(own, self.limit)

    def _take(self, tenant: str, count: int) -> None:
        self._queued += count
        self._by_tenant[tenant] = self._by_tenant.get(tenant, 0) + count

    def _check_open(self) -> None:
        if not self.open:
            raise SchedulerClosed("the scheduler is stopping; it takes no more jobs")
