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
    """Jobs to start, none of the tenants that are passing."""

    limit: int
    now: float
    passing: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """How many rows it writes at most."""
        return self.limit


class Finish(msgspec.Struct, frozen=True, gc=False):
    """Ends of attempts: id, attempt, status, outcome as bytes, the fuel that was used, and the shift."""

    ends: Sequence[tuple[str, int, str, bytes, int, float]]
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


class Refuel(msgspec.Struct, frozen=True, gc=False):
    """A running job whose cap is to be raised."""

    id: str
    attempt: int
    fuel: int
    now: float
    rows: int = 2


class Credit(msgspec.Struct, frozen=True, gc=False):
    """Fuel to grant to a tenant."""

    tenant: str
    fuel: int
    now: float
    key: str | None
    rows: int = 1


class AskBalance(msgspec.Struct, frozen=True, gc=False):
    """A question: the figures of a tenant's account."""

    tenant: str
    rows: int = 0


class NextDue(msgspec.Struct, frozen=True, gc=False):
    """A question: when the next delayed job becomes due."""

    now: float
    rows: int = 0


class NoteFired(msgspec.Struct, frozen=True, gc=False):
    """A periodic schedule that has fired, and when."""

    name: str
    at: float
    rows: int = 1


class NoteLoaded(msgspec.Struct, frozen=True, gc=False):
    """A module that a tenant has loaded, and how many of its modules are kept."""

    tenant: str
    digest: str
    most: int
    now: float
    rows: int = 2


Operation: TypeAlias = (
    Put | Claim | Finish | Release | Cancel | Refuel | Credit | AskBalance | NextDue | NoteFired | NoteLoaded
)
