"""An event that can be rung again and again: several rings before anyone looks are one."""

from __future__ import annotations

import anyio


class Bell:
    """Wakes the one loop that waits for it."""

    def __init__(self) -> None:
        self._rung = False
        self._event: anyio.Event | None = None

    def ring(self) -> None:
        """Wake the waiter, or let the next wait return at once."""
        self._rung = True
        if self._event is not None:
            self._event.set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for a ring, at most `timeout` seconds, and clear it; returns whether there was one."""
        if not self._rung:
            self._event = anyio.Event()
            try:
                if timeout is None:
                    await self._event.wait()
                else:
                    with anyio.move_on_after(timeout):
                        await self._event.wait()
            finally:
                self._event = None
        rung, self._rung = self._rung, False
        return rung
