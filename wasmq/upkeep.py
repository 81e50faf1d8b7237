"""The upkeep loop: jobs whose process is gone are taken over, the history is pruned, the queue is counted."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import anyio

from wasmq.errors import StoreUnavailable
from wasmq.settle import Died

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from wasmq.bell import Bell
    from wasmq.clock import Clock
    from wasmq.fairness import Fairness
    from wasmq.gate import Gate
    from wasmq.settle import Settler
    from wasmq.store import SharedStore

_EVERY: Final = 1.0  # seconds between two rounds, at most
_ROUNDS: Final = 10  # in one lease, at least: a lease that lapsed is to be noticed well before the next would have
_SHARE: Final = 0.05  # of the time may go into rounds


class Upkeep:
    """Keeps a store that daemons share in order, and what this one knows of it. `work` is rung when jobs wait."""

    def __init__(
        self,
        *,
        store: SharedStore,
        lease: float,
        fairness: Fairness,
        gate: Gate,
        settler: Settler,
        clock: Clock,
        work: Bell,
    ) -> None:
        self._store = store
        self._every = min(_EVERY, lease / _ROUNDS)
        self._fairness = fairness
        self._gate = gate
        self._settler = settler
        self._clock = clock
        self._work = work
        self._scope = anyio.CancelScope()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Do a round now and then, each daemon in its own rhythm, until stopped."""
        task_status.started()
        with self._scope:
            while True:
                started = self._clock.monotonic()
                try:
                    await self.round()
                except StoreUnavailable:
                    # An idle dispatcher would not notice, and still count as claiming.
                    self._work.ring()
                    spent = 0.0
                else:
                    spent = self._clock.monotonic() - started
                await anyio.sleep(max(self._every * random.uniform(0.6, 1.0), spent / _SHARE))

    def stop(self) -> None:
        """End the loop: a scheduler that stops takes nothing over."""
        self._scope.cancel()

    async def round(self) -> None:
        """Take over, prune and count once. Raises `StoreUnavailable`."""
        jobs = await self._store.orphans(self._clock.wall())
        self._settler.add([Died(job, "its daemon stopped without a word") for job in jobs])
        await self._store.tend()
        glance = await self._store.look(self._fairness.virtual, self._fairness.charges())
        self._fairness.started(glance.virtual)
        self._fairness.shared(glance.finishes)
        self._gate.recount(glance.waiting)
        if glance.waiting:
            self._work.ring()
