"""What a caller holds of a job: its id, its outcome once there is one, and the power to refuel and to cancel it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from wasmq.events import JobEvent
    from wasmq.job import Outcome


class JobHandle:
    """An accepted job. `await` it, as often as you like, for its outcome; that never raises for what the guest did."""

    __slots__ = ("_cancel", "_error", "_events", "_futures", "_outcome", "_refuel", "at_risk", "id")

    def __init__(
        self,
        id: str,  # noqa: A002
        cancel: Callable[[str], Awaitable[bool]],
        events: Callable[[str], AsyncGenerator[JobEvent]],
        refuel: Callable[[str, int], Awaitable[int]],
    ) -> None:
        self.id = id
        self.at_risk = False
        """Whether it was expected, when it was accepted, that it will not be done by its deadline."""
        self._cancel = cancel
        self._events = events
        self._refuel = refuel
        self._outcome: Outcome | None = None
        self._error: Exception | None = None
        self._futures: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} {self._outcome.status if self._outcome is not None else 'unfinished'}>"

    def __await__(self) -> Generator[None, None, Outcome]:
        if self._outcome is None and self._error is None:
            future = asyncio.get_running_loop().create_future()
            if self._futures is None:
                self._futures = []
            self._futures.append(future)
            yield from future
        if self._outcome is None:
            raise self._error or AssertionError("a handle was woken with nothing to say")
        return self._outcome

    @property
    def outcome(self) -> Outcome | None:
        """The outcome, or None while the job is not finished."""
        return self._outcome

    async def cancel(self) -> bool:
        """Cancel the job, waiting or running; False when it had finished already.

        The outcome of a cancelled job comes as any other: `await` the handle for it.
        """
        return await self._cancel(self.id)

    async def refuel(self, fuel: int) -> int:
        """Let the job, which runs or is suspended, spend so much more; returns what it may spend in all.

        Raises what `Scheduler.refuel` raises.
        """
        return await self._refuel(self.id, fuel)

    def events(self) -> AsyncGenerator[JobEvent]:
        """Tell what happens to the job, from where it stands now to its end: see `wasmq.events`.

        Raises `UnknownJob` when it has finished and left the history.
        """
        return self._events(self.id)

    def settle(self, outcome: Outcome) -> None:
        """Hand over the outcome and wake everyone who waits for it. For the scheduler."""
        self._outcome = outcome
        self._wake()

    def abandon(self, error: Exception) -> None:
        """Raise `error` from every wait: no outcome will come here. For the scheduler."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._futures is not None:
            for future in self._futures:
                if not future.done():
                    future.set_result(None)
            self._futures = None
