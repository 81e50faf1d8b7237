"""Many calls in a row: submitted in batches, some way ahead of the outcome that is waited for."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from wasmq.handles import JobHandle
    from wasmq.job import Outcome
    from wasmq.submission import Request

BATCH = 256
"""Calls submitted together."""
AHEAD = 2_048
"""Calls kept submitted beyond the one whose outcome is waited for."""


class Window:
    """Runs requests through `submit` in batches of at most `batch`, and gives their outcomes in the same order.

    `accepted` is called with the handle of each.
    """

    def __init__(
        self,
        submit: Callable[[Sequence[Request]], Awaitable[list[JobHandle]]],
        *,
        batch: int,
        accepted: Callable[[JobHandle], object] | None = None,
    ) -> None:
        self._submit = submit
        self._accepted = accepted
        self._batch = min(batch, BATCH)
        self._waiting: deque[JobHandle] = deque()

    async def run(self, requests: Iterable[Request]) -> AsyncIterator[Outcome]:
        """Yield the outcome of each request. Raises the `Refused` of the first batch that is not accepted."""
        source = iter(requests)
        waiting = self._waiting
        while batch := list(islice(source, self._batch)):
            handles = await self._submit(batch)
            waiting += handles
            if self._accepted is not None:
                for handle in handles:
                    self._accepted(handle)
            while len(waiting) > AHEAD:
                yield await waiting[0]
                waiting.popleft()
        while waiting:
            yield await waiting[0]
            waiting.popleft()

    def unfinished(self) -> list[JobHandle]:
        """Return the jobs submitted that have no outcome yet."""
        return [handle for handle in self._waiting if handle.outcome is None]
