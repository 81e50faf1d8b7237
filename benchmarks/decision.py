"""What it costs to say who goes next: one job claimed and one entered, beside ever more tenants that wait.

The queue and the tags are the real ones, in memory; nothing is stored, and no job runs.
"""

from __future__ import annotations

import time

from benchmarks.common import Row, each_round, main
from wasmq.fairness import Fairness
from wasmq.job import Call, Caps, Job
from wasmq.store.queue import Entry, Queue

WAITING = (10, 100, 1_000, 10_000, 100_000)
DECISIONS = 20_000
COST = 1_000_000  # fuel
TARGET = 10e-6  # seconds


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    """Return the seconds of one claim and one entry, a row for each number of tenants."""
    took: dict[int, list[float]] = {tenants: [] for tenants in WAITING}
    for _ in each_round("decision", rounds):
        for tenants, seconds in took.items():
            seconds.append(_decide(tenants))
    rows = [
        Row(
            measured=f"next job, {tenants:_} tenants waiting".replace("_", " "),
            kind="seconds",
            ours=ours,
            target=TARGET,
        )
        for tenants, ours in took.items()
    ]
    return rows, ["a next job is one claimed and one entered, with its tag, in the queue of a store with one owner"]


class _Line:
    """A queue in which each tenant has one job waiting."""

    def __init__(self, tenants: int) -> None:
        self._fairness = Fairness(unknown_cost=COST)
        self._queue: Queue[Entry] = Queue()
        self._number = 0
        self._call = Call("module", "export")
        self._caps = Caps(10 * COST, 65_536, 60.0, 0)
        for number in range(tenants):
            self.enter(f"tenant-{number}")

    def enter(self, tenant: str) -> None:
        """Tag and enter a job."""
        self._number += 1
        order = self._fairness.tag(tenant, 1.0 + self._number % 8, COST)
        job = Job(str(self._number), self._call, self._caps, tenant, 0, None, 0.0, 0.0, order, COST)
        self._queue.enter(Entry(job, self._number, 0.0), 0.0)

    def turn(self) -> Entry:
        """Claim the next job, and enter another of its tenant."""
        (entry,) = self._queue.claim(1, 0.0)
        self._fairness.started(entry.job.order, entry.job.tenant)
        self.enter(entry.job.tenant)
        return entry

    def end(self, entry: Entry) -> None:
        """Take a job that runs off the books."""
        self._fairness.settled(entry.job.tenant, COST, COST)
        self._queue.leave(entry)


def _decide(tenants: int) -> float:
    line = _Line(tenants)
    spent = 0.0
    for _ in range(DECISIONS):
        start = time.perf_counter()
        entry = line.turn()
        spent += time.perf_counter() - start
        line.end(entry)
    return spent / DECISIONS


if __name__ == "__main__":
    main("decision", measure, rounds=5)
