"""What a store must do. Batches in, batches out: a store that commits in groups takes each batch in one transaction.

A job's life: `put` makes it queued; `claim` makes it running and counts an attempt; `finish` makes it finished, unless
another attempt has begun meanwhile; `release` makes it queued again. Times are seconds on the wall clock, handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from wasmq.errors import KeyConflict
from wasmq.job import Job, Outcome, State, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

Cancellation: TypeAlias = Literal["cancelled", "running", "finished", "unknown"]
"""What `cancel` found: a queued job, which is finished now; one that runs; one that had finished; none."""


_encode = msgspec.msgpack.Encoder().encode


class JobRecord(msgspec.Struct, frozen=True, gc=False):
    """A job as the store knows it. `attempts` counts the starts that count against `max_attempts`."""

    job: Job
    state: State
    attempts: int
    outcome: Outcome | None

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id

    @property
    def module(self) -> str:
        """The digest of the module that is called."""
        return self.job.call.module

    @property
    def export(self) -> str:
        """The export that is called."""
        return self.job.call.export

    @property
    def tenant(self) -> str:
        """Whose job it is."""
        return self.job.tenant

    @property
    def submitted_at(self) -> float:
        """When it was accepted, in seconds since 1970."""
        return self.job.submitted_at


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The end of one attempt: counts only while this attempt is the job's latest."""

    id: str
    attempt: int
    outcome: Outcome


def check_same(job: Job, earlier: Job) -> None:
    """Raise `KeyConflict` unless a job asks for what the earlier one with the same key asked for."""
    # Compared by their bytes: NaN is not equal to itself.
    if _encode((job.call, job.caps)) != _encode((earlier.call, earlier.caps)):
        raise KeyConflict(f"key {job.key!r} of tenant {job.tenant!r} was used for another call (job {earlier.id})")


class Store(Protocol):
    """The jobs of one queue."""

    durable: bool
    """Whether jobs outlive the process."""

    async def open(self) -> None:
        """Get ready. Raises `ConfigError` when the store is not to be had."""
        ...

    async def close(self) -> None:
        """Let go; what was put is kept if the store is durable."""
        ...

    async def put(self, jobs: Sequence[Job]) -> list[Job]:
        """Queue jobs, all or none; once this returns they are accepted.

        Returns for each job the one that is in the store: itself, or the earlier one of its tenant with the same key.
        Raises `KeyConflict` when that one is not the same call with the same limits.
        """
        ...

    async def claim(self, limit: int, now: float) -> list[Job]:
        """Start up to `limit` jobs that are due: by priority, then order, then age. Each counts an attempt."""
        ...

    async def finish(self, ends: Sequence[Finished]) -> list[bool]:
        """Record outcomes; False for each that came late, which changes nothing."""
        ...

    async def release(self, jobs: Sequence[Job], *, charged: bool, due: float) -> None:
        """Queue running jobs again, to start at `due` or later; uncharged, the start just made does not count."""
        ...

    async def cancel(self, ids: Sequence[str], outcome: Outcome) -> list[Cancellation]:
        """Finish those of the jobs that are queued with `outcome`."""
        ...

    async def get(self, id: str) -> JobRecord | None:  # noqa: A002
        """Return a job, or None when there is none with this id (any more)."""
        ...

    async def list(
        self, *, tenant: str | None, status: State | Status | None, after: str | None, limit: int
    ) -> list[JobRecord]:
        """Return jobs, newest first, beginning behind the job `after`."""
        ...

    async def next_due(self, now: float) -> float | None:
        """Return when the next delayed job becomes due, or None when none waits for its time."""
        ...

    def counts(self) -> dict[str, int]:
        """Return how many jobs are queued and running."""
        ...

    def oldest_ready(self, now: float) -> float:
        """Return for how many seconds the job that waits longest could have started; 0 when none waits."""
        ...
