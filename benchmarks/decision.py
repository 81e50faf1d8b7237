"""What it costs to pick the next job, from 10 to 100 000 tenants that have work waiting.

Twice: whose job starts next, which the queue of the stores in memory and on SQLite decides, and whose instance runs
the next quantum, which a worker decides. Nothing is stored, sent or run.
"""

from __future__ import annotations

import gc
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.common import Row, each_round, main
from wasmq.job import Call, Caps, Job
from wasmq.store.queue import Entry, Queue
from wasmq_worker.protocol import Assignment
from wasmq_worker.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Iterator

TENANTS = (10, 100, 1_000, 10_000, 100_000)
PICKS = 2_000  # decisions in one round
LEFT = 2  # jobs that each tenant has left in the end, at least
QUANTUM = 100_000
TARGET = 10e-6  # seconds


class _Guest(NamedTuple):
    """All that the rule of turns looks at in an instance."""

    assignment: Assignment


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    rows = []
    for name, one in (("job to start", _queue), ("instance to run", _shares)):
        for tenants in TENANTS:
            seconds = [one(tenants) for _ in each_round(f"decision, {name}, {tenants:,} tenants", rounds)]
            waiting = f"{tenants:,}".replace(",", " ")
            measured = f"picking the next {name}, {waiting} tenants waiting"
            rows.append(Row(measured=measured, kind="seconds", ours=seconds, target=TARGET))
    notes = [
        "In seconds of the processor, not of the clock: a decision does not wait, and others may be using the machine.",
        "Jobs have random tags, and one in four a priority or a deadline, so that turns are exchanged within tenants.",
        "Of an instance to run, a decision is taking it, charging its quantum and letting it wait again.",
    ]
    return rows, notes


def _queue(tenants: int) -> float:
    """Return the seconds in which one job was claimed, by itself."""
    queue: Queue[Entry] = Queue()
    for age, job in enumerate(_jobs(tenants, PICKS // tenants + LEFT)):
        queue.enter(Entry(job, age, 0.0), 0.0)

    def pick() -> None:
        queue.claim(1, 0.0)

    return _each(pick)


def _jobs(tenants: int, depth: int) -> Iterator[Job]:
    lot = random.Random(1)
    call, caps = Call("m" * 64, "f"), Caps(10**9, 65_536, 10.0, 0)
    for tenant in range(tenants):
        for place in range(depth):
            ranked = lot.random()
            yield Job(
                id=f"{tenant}.{place}",
                call=call,
                caps=caps,
                tenant=f"t{tenant}",
                priority=1 if ranked < 0.125 else 0,
                key=None,
                submitted_at=0.0,
                due=0.0,
                order=place * 1e6 + lot.random() * 1e6,
                cost=1e6,
                deadline=100.0 if ranked > 0.875 else None,
            )


def _shares(tenants: int) -> float:
    """Return the seconds in which one turn was given and charged."""
    shares = Shares(QUANTUM)
    lot = random.Random(1)
    for tenant in range(tenants):
        for place in range(LEFT):
            ticket = tenant * LEFT + place
            guest: Any = _Guest(Assignment(ticket, 0, 0, (), 10**12, 0, 60.0, 0, tenant, 0.5 + lot.random()))
            shares.add(guest)

    def pick() -> None:
        instance, first = shares.take()
        shares.charge(instance, QUANTUM, first=first, more=True)

    return _each(pick)


def _each(pick: Any) -> float:
    """Return the processor seconds that one decision takes, over many. What came before is not collected meanwhile."""
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        for _ in range(PICKS):
            pick()
        return (time.process_time() - start) / PICKS
    finally:
        gc.enable()


if __name__ == "__main__":
    main("decision", measure, rounds=5)
