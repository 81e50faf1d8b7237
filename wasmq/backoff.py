"""How long a job waits whose worker died: exponential, with full jitter, so that a crowd does not come back at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from wasmq.job import Job

_STEPS = 16  # different pauses after one attempt: a store gets jobs that wait equally long together


class Backoff:
    """Draws pauses: up to `first` seconds after the first attempt, doubled with each more, `most` at most.

    `chance` is where they are drawn from.
    """

    def __init__(self, first: float, most: float, chance: random.Random) -> None:
        self._first = first
        self._most = most
        self._chance = chance

    def pause(self, attempts: int) -> float:
        """Return for how many seconds a job waits that has been started `attempts` times, one at least."""
        longest = min(self._most, self._first * 2.0 ** min(attempts - 1, 63))
        return longest * self._chance.randint(0, _STEPS) / _STEPS

    def spread(self, jobs: Iterable[Job]) -> dict[float, list[Job]]:
        """Return jobs by the seconds that they wait, each as long as its own attempts make it."""
        found: dict[float, list[Job]] = {}
        for job in jobs:
            found.setdefault(self.pause(job.attempt - job.returned), []).append(job)
        return found
