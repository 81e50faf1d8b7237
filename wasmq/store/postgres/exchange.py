"""Whose turns they are: what a database took by tags alone is sorted out by the rule of the queue. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from wasmq.store.queue import Entry, Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmq.job import Job


class Aged(NamedTuple):
    """A job, and its place in the order in which jobs were put."""

    job: Job
    age: int


class Exchange(NamedTuple):
    """The jobs that start, in the order of their turns, and all whose turn or state is another than it was."""

    starting: list[Job]
    changed: list[tuple[Job, bool]]
    """With whether each starts."""


def exchange(taken: Sequence[Aged], rivals: Sequence[Aged]) -> Exchange:
    """Return who of jobs that were `taken` and of their tenants' other ready ones starts: as many as were taken.

    Of those taken the attempt has been counted already.
    """
    queue: Queue[Entry] = Queue()
    before = {job.id: job for job, _ in taken}
    entries = [
        Entry(msgspec.structs.replace(job, attempt=job.attempt - 1), age, 0.0) for job, age in taken
    ] + [Entry(job, age, 0.0) for job, age in rivals]  # fmt: skip
    for entry in entries:
        queue.enter(entry, 0.0)
    starting = [entry.job for entry in queue.claim(len(taken), 0.0)]
    orders = {job.id: job.order for job, _ in (*taken, *rivals)}
    changed = [
        (entry.job, entry.state == "running")
        for entry in entries
        if (entry.state == "running") != (entry.job.id in before) or entry.job.order != orders[entry.job.id]
    ]
    return Exchange(starting, changed)
