"""What a scrape reads of a running scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmq.budgets import Budgets
    from wasmq.clock import Clock
    from wasmq.pool.crew import Crew
    from wasmq.pool.pool import Pool
    from wasmq.store import Store


class SchedulerGauges:
    """Reads the store, the pool and the crew at the moment of the scrape."""

    def __init__(self, store: Store, pool: Pool, crew: Crew, clock: Clock, budgets: Budgets) -> None:
        self._store = store
        self._pool = pool
        self._crew = crew
        self._clock = clock
        self._budgets = budgets

    def jobs(self) -> Mapping[str, int]:
        """Return how many jobs there are by state."""
        return self._store.counts()

    def oldest_ready_age(self) -> float:
        """Return for how many seconds the job that waits longest could have started."""
        return self._store.oldest_ready(self._clock.wall())

    def budgets(self) -> Mapping[str, int]:
        """Return the free fuel of each tenant that has a budget."""
        return self._budgets.remaining()

    def instances(self) -> Mapping[str, int]:
        """Return how many instances are live in the workers, by state."""
        return self._crew.instances()

    def memory(self) -> Mapping[str, int]:
        """Return the bytes that running jobs have booked, and those that are left of what was given."""
        memory = self._pool.memory
        return {"admitted": memory.booked, "free": memory.given - memory.booked}

    def workers(self) -> int:
        """Return how many workers can take jobs."""
        return self._pool.workers
