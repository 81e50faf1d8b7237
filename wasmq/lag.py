"""The lag loop: how late the event loop answers, which is what every latency here is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from wasmq.clock import Clock
    from wasmq.metrics import Metrics

_EVERY = 0.5  # seconds


class LagMeter:
    """Measures by how much a short sleep takes longer than it should."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Measure until cancelled."""
        task_status.started()
        while True:
            before = self._clock.monotonic()
            await anyio.sleep(_EVERY)
            self._metrics.lagged(max(0.0, self._clock.monotonic() - before - _EVERY))
