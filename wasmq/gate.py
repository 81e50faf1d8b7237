"""The bound on waiting jobs: who may queue now, and who waits for room."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from wasmq.errors import QueueFull, SchedulerClosed

if TYPE_CHECKING:
    from collections.abc import Callable


_Waiter: TypeAlias = tuple[Mapping[str, int], asyncio.Future[None]]


class Gate:
    """Counts the jobs that wait, in all and by tenant. `tenant_limit` gives a tenant's own bound, None for none."""

    def __init__(self, limit: int, tenant_limit: Callable[[str], int | None]) -> None:
        self.limit = limit
        self.open = True
        self._tenant_limit = tenant_limit
        self._queued = 0
        self._by_tenant: dict[str, int] = {}
        # Those who wait, by the first tenant they come for; the tenant whose turn is next stands first.
        self._waiting: dict[str, deque[_Waiter]] = {}

    async def enter(self, counts: Mapping[str, int], *, wait: bool) -> None:
        """Take room for jobs of one or more tenants, for all of them at once, waiting for it if told to.

        Raises `QueueFull` without `wait`, or when there can never be so much room; `SchedulerClosed` once closed.
        """
        if not self.open:
            raise SchedulerClosed("the scheduler is stopping; it takes no more jobs")
        self._check_possible(counts)
        if self._misfit(counts) is None and not any(tenant in self._waiting for tenant in counts):
            self._take(counts)
            return
        if not wait:
            tenant = self._misfit(counts) or next(iter(counts))
            limit = self.limit_of(tenant)
            raise QueueFull(f"the queue is full: {limit} jobs may wait (tenant {tenant!r}); try again later")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(next(iter(counts)), deque()).append((counts, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._give_back(counts)
            # Who gave up may have stood before others who fit.
            self.admit()
            raise

    def readmit(self, tenant: str, count: int) -> None:
        """Count jobs that wait again: they were accepted before, so there is always room for them."""
        self._take({tenant: count})

    def leave(self, tenant: str, count: int) -> None:
        """Give room back, and let in those who wait and fit."""
        self._give_back({tenant: count})
        self.admit()

    def recount(self, waiting: Mapping[str, int]) -> None:
        """Set how many jobs of each tenant wait, others' included who share the store, and let in those who fit."""
        self._by_tenant = {tenant: count for tenant, count in waiting.items() if count}
        self._queued = sum(self._by_tenant.values())
        self.admit()

    def close(self) -> None:
        """Refuse everyone from now on, those who wait included."""
        self.open = False
        for queue in self._waiting.values():
            for _, future in queue:
                if not future.done():
                    future.set_exception(SchedulerClosed("the scheduler is stopping"))
        self._waiting.clear()

    def admit(self) -> None:
        """Let in those who wait and fit, the tenants by turns: when there is room again, or a bound has moved."""
        turns = len(self._waiting)
        while turns and self._waiting:
            tenant = next(iter(self._waiting))
            queue = self._waiting.pop(tenant)
            let_in = self._admit_first(queue)
            if queue:
                self._waiting[tenant] = queue
            turns = len(self._waiting) if let_in else turns - 1

    def limit_of(self, tenant: str) -> int:
        """Return how many jobs of a tenant may wait at most."""
        own = self._tenant_limit(tenant)
        return self.limit if own is None else min(own, self.limit)

    def _admit_first(self, queue: deque[_Waiter]) -> bool:
        """Let in the first who still waits, if it fits; returns whether it did."""
        while queue:
            counts, future = queue[0]
            if not future.done():
                try:
                    self._check_possible(counts)
                except QueueFull as error:
                    future.set_exception(error)
                else:
                    if self._misfit(counts) is not None:
                        return False
                    self._take(counts)
                    future.set_result(None)
                    queue.popleft()
                    return True
            queue.popleft()
        return False

    def _check_possible(self, counts: Mapping[str, int]) -> None:
        """Raise `QueueFull` when so many would not even fit an empty queue."""
        for tenant, count in counts.items():
            if count > self.limit_of(tenant):
                raise QueueFull(
                    f"{count} jobs at once do not fit a queue of {self.limit_of(tenant)} (tenant {tenant!r})"
                )
        total = sum(counts.values())
        if total > self.limit:
            raise QueueFull(f"{total} jobs at once do not fit a queue of {self.limit}")

    def _misfit(self, counts: Mapping[str, int]) -> str | None:
        """Return a tenant whose jobs have no room now, or None."""
        total = sum(counts.values())
        for tenant, count in counts.items():
            own = self._tenant_limit(tenant)
            if self._queued + total > self.limit or (own is not None and self._by_tenant.get(tenant, 0) + count > own):
                return tenant
        return None

    def _take(self, counts: Mapping[str, int]) -> None:
        for tenant, count in counts.items():
            self._queued += count
            self._by_tenant[tenant] = self._by_tenant.get(tenant, 0) + count

    def _give_back(self, counts: Mapping[str, int]) -> None:
        for tenant, count in counts.items():
            known = self._by_tenant.get(tenant, 0)
            # A job that came in through another daemon has not been counted here yet, or not any more.
            given = min(count, known)
            self._queued -= given
            if given < known:
                self._by_tenant[tenant] = known - given
            else:
                self._by_tenant.pop(tenant, None)
