"""What a call will cost and when it would start, from what calls like it have cost and from the queue ahead of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from wasmq.deadlines import Deadlines
from wasmq.errors import StoreUnavailable
from wasmq.history import History, percentile
from wasmq.pace import Pace

if TYPE_CHECKING:
    from wasmq.fairness import Fairness
    from wasmq.job import Job, Outcome
    from wasmq.store import Store

__all__ = ["MARGIN", "Estimate", "Estimator"]

MARGIN: Final = 1.5
"""What the 99th percentile of the fuel that was used is multiplied with for a cap."""
_RECALLED: Final = 2_000  # finished jobs that are read from the store at the start
_PAGE: Final = 20  # of them at once: each has its output with it


class Estimate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is expected of a call of an export, by its last `outcomes`; what rests on none of them is None.

    `fuel_p50`, `fuel_p99`, `fuel_max` and the cap that is suggested, `fuel_cap`, are in fuel; the cap is the 99th
    percentile times `margin`. `out_of_fuel` of the outcomes had a cap that was too low. `run` is the median of the
    seconds that it ran, `start` the seconds until it would start if it were submitted now; `fuel_rate` is the fuel that
    one core spends in a second.
    """

    module: str
    export: str
    outcomes: int
    out_of_fuel: int
    fuel_p50: int | None
    fuel_p99: int | None
    fuel_max: int | None
    fuel_cap: int | None
    margin: float
    run: float | None
    start: float
    fuel_rate: float


class Estimator:
    """Knows the pace of this scheduler's workers, the history of calls, and the queue."""

    def __init__(
        self, *, engine: str, workers: int, fairness: Fairness, store: Store, deadlines: Deadlines | None = None
    ) -> None:
        self._pace = Pace(engine)
        self._history = History()
        self._workers = workers
        self._fairness = fairness
        self._store = store
        self._deadlines = deadlines or Deadlines()

    def calibrate(self, rate: float) -> None:
        """Take in how much fuel a worker has measured that its core spends in a second."""
        self._pace.calibrate(rate)

    def learn(self, job: Job, outcome: Outcome) -> None:
        """Take in how a job ended."""
        self._pace.learn(outcome.fuel_used, outcome.ran)
        self._history.learn(job, outcome)

    def estimate(self, module: str, export: str, *, tenant: str | None, most: int) -> Estimate:
        """Return what is expected of a call of a tenant, by what its calls have cost; None is by those of all.

        No cap above `most` is suggested.
        """
        runs = self._history.runs(module, export, tenant)
        fuel = [run.fuel for run in runs]
        p99 = int(percentile(fuel, 0.99)) if fuel else None
        return Estimate(
            module=module,
            export=export,
            outcomes=len(runs),
            out_of_fuel=sum([run.starved for run in runs]),
            fuel_p50=int(percentile(fuel, 0.5)) if fuel else None,
            fuel_p99=p99,
            fuel_max=max(fuel, default=None),
            fuel_cap=None if p99 is None else min(max(1, math.ceil(p99 * MARGIN)), most),
            margin=MARGIN,
            run=percentile([run.ran for run in runs], 0.5) if runs else None,
            start=self.start(tenant or "default"),
            fuel_rate=self._pace.rate,
        )

    def start(self, tenant: str) -> float:
        """Return the seconds until a job would start that a tenant submits now."""
        return self._pace.seconds(self._fairness.ahead(tenant), self._workers)

    def done_in(self, job: Job, before: float) -> tuple[float, float]:
        """Return in how many seconds a job with a deadline is expected to start, and for how many to run then.

        Of its tenant's jobs those go first whose deadlines are no later, and jobs that are submitted together with it
        and are expected to use `before` fuel.
        """
        assert job.deadline is not None
        own = before + self._deadlines.before(job.tenant, job.deadline)
        ahead = self._fairness.ahead(job.tenant, own) + before
        return max(self._pace.seconds(ahead, self._workers), job.due - job.submitted_at), self._run(job)

    def _run(self, job: Job) -> float:
        """Return the seconds that a job is expected to run: as its tenant's last ones did, or by its expected fuel."""
        runs = self._history.runs(job.call.module, job.call.export, job.tenant)
        return percentile([run.ran for run in runs], 0.5) if runs else self._pace.seconds(job.cost)

    async def recall(self) -> None:
        """Take in the newest finished jobs of the store; what it cannot say now is not known."""
        after: str | None = None
        try:
            for _ in range(_RECALLED // _PAGE):
                records = await self._store.list(tenant=None, status="finished", after=after, limit=_PAGE)
                for record in records:
                    if record.outcome is not None:
                        self._history.recall(record.job, record.outcome)
                if len(records) < _PAGE:
                    break
                after = records[-1].id
        except StoreUnavailable:
            pass
        finally:
            self._history.recalled()
