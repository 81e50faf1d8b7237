"""What the writer is asked to do: values, made on the event loop and taken in the writer's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from wasmq.job import Job


class Put(msgspec.Struct, frozen=True, gc=False):
    """Jobs to queue, each with its record."""

    jobs: Sequence[Job]
    bodies: Sequence[bytes]
    now: float

    @property
    def rows(self) -> int:
        """How many rows it writes."""
        return len(self.jobs)


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Jobs to start."""

    limit: int
    now: float

    @property
    def rows(self) -> int:
        """How many rows it writes at most."""
        return self.limit


class Finish(msgspec.Struct, frozen=True, gc=False):
    """Ends of attempts: id, attempt, status, outcome as bytes."""

    ends: Sequence[tuple[str, int, str, bytes]]
    now: float

    @property
    def rows(self) -> int:
        """How many rows it writes at most."""
        return len(self.ends)


class Release(msgspec.Struct, frozen=True, gc=False):
    """Running jobs to queue again."""

    jobs: Sequence[Job]
    charged: bool
    due: float
    now: float

    @property
    def rows(self) -> int:
        """How many rows it writes at most."""
        return len(self.jobs)


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Queued jobs to finish with an outcome."""

    ids: Sequence[str]
    status: str
    outcome: bytes
    now: float

    @property
    def rows(self) -> int:
        """How many rows it writes at most."""
        return len(self.ids)


class NextDue(msgspec.Struct, frozen=True, gc=False):
    """A question: when the next delayed job becomes due."""

    now: float
    rows: int = 0


class NoteFired(msgspec.Struct, frozen=True, gc=False):
    """A periodic schedule that has fired, and when."""

    name: str
    at: float
    rows: int = 1


Operation: TypeAlias = Put | Claim | Finish | Release | Cancel | NextDue | NoteFired
