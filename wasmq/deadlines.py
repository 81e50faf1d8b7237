"""Jobs with a deadline that have not ended: when the next one is over, and how much of a tenant's goes before another.

Pure. Deadlines are kept on a clock that never goes back, as of when the job was watched: whatever steps the wall clock
takes, the time that was given is the time that passes.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wasmq.job import Job

LATE: Final = "timed out: its deadline passed before it started"
"""What is said of a job that was never started for its deadline."""
_COMPACT_ABOVE: Final = 1_000  # entries beyond twice the jobs that are watched
_STEPS: Final = 10_000  # jobs of one tenant that are added up at most


def time_left(job: Job, now: float) -> float:
    """Return for how many seconds a job may run that starts at `now` on the wall clock: 0 when its deadline is over."""
    if job.deadline is None:
        return job.caps.timeout
    # A clock that stepped back makes no more time than there was.
    return min(job.caps.timeout, max(0.0, job.deadline - max(now, job.submitted_at)))


class Deadlines:
    """The jobs that are watched."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._watched: dict[str, Job] = {}
        # By tenant the jobs that have not started: deadline, id, expected fuel, sorted.
        self._waiting: dict[str, list[tuple[float, str, float]]] = {}

    def watch(self, job: Job, *, now: float, wall: float) -> bool:
        """Watch a job, if it has a deadline; returns whether it is the first to be over.

        `now` and `wall` are what the two clocks show.
        """
        if job.deadline is None:
            return False
        self._compact()
        self._watched[job.id] = job
        insort(self._waiting.setdefault(job.tenant, []), (job.deadline, job.id, job.cost))
        heapq.heappush(self._heap, (now + job.deadline - wall, job.id))
        return self._heap[0][1] == job.id

    def started(self, job: Job) -> None:
        """Note that a job waits for nobody any more."""
        waiting = self._waiting.get(job.tenant)
        if waiting is None or job.deadline is None:
            return
        place = bisect_left(waiting, (job.deadline, job.id))
        if place < len(waiting) and waiting[place][1] == job.id:
            del waiting[place]
        if not waiting:
            del self._waiting[job.tenant]

    def ended(self, job: Job) -> None:
        """Watch a job no longer."""
        if self._watched.pop(job.id, None) is not None:
            self.started(job)

    def next(self) -> float | None:
        """Return when the next deadline is over, None when there is none."""
        heap = self._heap
        while heap and heap[0][1] not in self._watched:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def over(self, now: float) -> list[str]:
        """Return the jobs whose deadlines are over, each once."""
        found = []
        while (at := self.next()) is not None and at <= now:
            _, job_id = heapq.heappop(self._heap)
            found.append(job_id)
        return found

    def again(self, ids: list[str], now: float) -> None:
        """Return jobs as over once more, from `now` on: nothing could be done about them."""
        for job_id in ids:
            if job_id in self._watched:
                heapq.heappush(self._heap, (now, job_id))

    def before(self, tenant: str, deadline: float) -> float:
        """Return the fuel that a tenant's waiting jobs are expected to use whose deadlines are no later."""
        total = 0.0
        for at, _, cost in self._waiting.get(tenant, ())[:_STEPS]:
            if at > deadline:
                break
            total += cost
        return total

    def _compact(self) -> None:
        if len(self._heap) > 2 * len(self._watched) + _COMPACT_ABOVE:
            self._heap = [entry for entry in self._heap if entry[1] in self._watched]
            heapq.heapify(self._heap)
