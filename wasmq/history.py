"""What calls have cost: the last outcomes of each export, in memory, bounded. Pure.

They are filled again from the store's history when a scheduler starts.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmq.job import Job, Outcome

KEPT: Final = 256
"""Outcomes of one export and tenant that are remembered."""
MAX_EXPORTS: Final = 10_000
"""Exports, by tenant, that are remembered; those unused for longest go first."""
TELLING: Final = frozenset({"succeeded", "trapped", "exited", "out_of_fuel"})
"""How a job ends that says what its call costs; of one that ran out of fuel that is at least what it had."""


class Run(NamedTuple):
    """What one call cost: fuel, seconds, and whether it would have used more."""

    fuel: int
    ran: float
    starved: bool


class History:
    """The last runs of each module's exports, by tenant."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, str, str], deque[Run]] = OrderedDict()
        self._learned: set[str] | None = set()

    def learn(self, job: Job, outcome: Outcome) -> None:
        """Take in how a job ended, the newest of all."""
        if outcome.status in TELLING:
            self._of(job).append(_run(outcome))
            if self._learned is not None:
                self._learned.add(job.id)

    def recall(self, job: Job, outcome: Outcome) -> None:
        """Take in a job that ended before all that are known; one that was learned meanwhile is not counted twice."""
        if outcome.status in TELLING and self._learned is not None and job.id not in self._learned:
            runs = self._of(job)
            if len(runs) < KEPT:
                runs.appendleft(_run(outcome))

    def recalled(self) -> None:
        """Note that nothing is left to be recalled."""
        self._learned = None

    def runs(self, module: str, export: str, tenant: str | None = None) -> list[Run]:
        """Return the last runs of an export, of one tenant or of all."""
        if tenant is not None:
            return list(self._runs.get((module, export, tenant), ()))
        return [run for key, runs in self._runs.items() if key[:2] == (module, export) for run in runs]

    def _of(self, job: Job) -> deque[Run]:
        key = (job.call.module, job.call.export, job.tenant)
        runs = self._runs.get(key)
        if runs is None:
            if len(self._runs) >= MAX_EXPORTS:
                self._runs.popitem(last=False)
            runs = self._runs[key] = deque(maxlen=KEPT)
        else:
            self._runs.move_to_end(key)
        return runs


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest of some values that is no less than this part of them (the nearest rank)."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def _run(outcome: Outcome) -> Run:
    return Run(outcome.fuel_used, outcome.ran, outcome.status == "out_of_fuel")
