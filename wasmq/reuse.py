"""Whose run answers whom: identical calls in flight are run once, and answers are kept for those that come later. Pure.

Calls are identical when their tenant, modules, export, inputs and limits are; everything here has one engine. Only jobs
that asked for it take part, and of those only calls that give the same answer each time. The first of them leads: it is
run, and the others wait for it. When it ends with an answer, that is theirs as well; when it does not come to an end,
the next of them leads. Nothing is shared between tenants: how fast an answer comes would tell one of them what another
has asked.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from wasmq.receipts import call_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from wasmq.config import ReuseConfig
    from wasmq.job import Job, Outcome

__all__ = ["Answered", "Event", "Freed", "Reuse", "answer", "is_answer"]

Event: TypeAlias = Literal["hit", "joined", "run"]
"""What became of a job that might be answered by another's run: a kept answer, one under way, or its own run."""
_ANSWERS: Final = frozenset({"succeeded", "exited", "trapped", "out_of_fuel"})
_ENTRY: Final = 2_000  # bytes that a kept answer takes beside its output, files and backtrace
_FRAME: Final = 400  # bytes of one line of a backtrace
_MOST: Final = 2**20  # bytes that a job may bring to take part: it takes milliseconds to find out what they are
_APART: Final = 1_000  # calls without an answer that are remembered

_Key: TypeAlias = tuple[str, str, Any]


class Answered(NamedTuple):
    """A job that has its answer: the outcome of the job `source`, whose run it was."""

    job: Job
    source: str
    outcome: Outcome


class Freed(NamedTuple):
    """What becomes of jobs: those that are to be run, and those that have their answer."""

    run: Sequence[Job] = ()
    answered: Sequence[Answered] = ()


class _Flight:
    __slots__ = ("leader", "waiting")

    def __init__(self, leader: Job, waiting: dict[str, Job]) -> None:
        self.leader = leader
        self.waiting = waiting


class _Kept(NamedTuple):
    source: str
    outcome: Outcome
    size: int
    until: float


_NOTHING: Final = Freed()


class Reuse:
    """The calls in flight of one scheduler, and the answers that it keeps. Times are seconds on a clock without steps.

    `count` is told what became of each job that took part.
    """

    def __init__(self, config: ReuseConfig, count: Callable[[Event], None] = lambda _: None) -> None:
        self._config = config
        self._count = count
        self._flights: dict[_Key, _Flight] = {}
        self._leads: dict[tuple[str, int], _Key] = {}
        self._waits: dict[str, _Key] = {}
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._size = 0
        # Calls that lately ended without an answer: they would wait for each other, and get none.
        self._apart: OrderedDict[_Key, float] = OrderedDict()

    def __len__(self) -> int:
        """Jobs that wait for another's run."""
        return len(self._waits)

    @property
    def kept(self) -> int:
        """Bytes that kept answers take, about."""
        return self._size

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs that wait for another's run."""
        for flight in self._flights.values():
            yield from flight.waiting.values()

    def admit(self, jobs: Sequence[Job], now: float) -> Freed:
        """Take jobs that have been claimed; those that are in neither list wait here."""
        if all(job.reuse == "never" for job in jobs):
            return Freed(jobs)
        run: list[Job] = []
        answered: list[Answered] = []
        for job in jobs:
            if (
                job.reuse == "never"
                or job.varies is not None
                or job.refuellable
                or job.deadline
                or job.call.weight() > _MOST
            ):
                run.append(job)
                continue
            key = _key(job)
            kept = self._look_up(key, now) if job.reuse == "result" else None
            if kept is not None:
                answered.append(Answered(job, kept.source, kept.outcome))
                self._count("hit")
            elif self._waits_now(key, job):
                self._count("joined")
            else:
                if key not in self._flights and not self._is_apart(key, now):
                    self._lead(key, job, {})
                run.append(job)
                self._count("run")
        return Freed(run, answered)

    def ended(self, job: Job, outcome: Outcome | None, now: float) -> Freed:
        """Take note that a job's attempt has ended, without an outcome if it goes back to the queue."""
        key = self._leads.pop((job.id, job.attempt), None)
        if key is None:
            return _NOTHING
        waiting = self._flights.pop(key).waiting
        for each in waiting:
            del self._waits[each]
        if outcome is not None and is_answer(outcome):
            if job.reuse == "result" or any(each.reuse == "result" for each in waiting.values()):
                self._keep(key, job, outcome, now)
            return Freed((), [Answered(each, job.id, outcome) for each in waiting.values()])
        if outcome is not None and outcome.status != "cancelled":
            self._apart[key] = now + self._config.age
            self._apart.move_to_end(key)
            if len(self._apart) > _APART:
                self._apart.popitem(last=False)
            return Freed(list(waiting.values()))
        if not waiting:
            return _NOTHING
        first = next(iter(waiting.values()))
        del waiting[first.id]
        self._lead(key, first, waiting)
        return Freed((first,))

    def disband(self, leader: Job) -> list[Job]:
        """Return those that wait for a job which is not run after all; they go back to the queue with it."""
        key = self._leads.pop((leader.id, leader.attempt), None)
        if key is None:
            return []
        waiting = list(self._flights.pop(key).waiting.values())
        for each in waiting:
            del self._waits[each.id]
        return waiting

    def drop(self, ids: Collection[str] | None = None) -> list[Job]:
        """Let those of the jobs that wait here, or all, wait no longer, and return them."""
        if not self._waits:
            return []
        found = [job_id for job_id in (self._waits if ids is None else ids) if job_id in self._waits]
        return [self._flights[self._waits.pop(job_id)].waiting.pop(job_id) for job_id in dict.fromkeys(found)]

    def _waits_now(self, key: _Key, job: Job) -> bool:
        flight = self._flights.get(key)
        if flight is None or len(self._waits) >= self._config.waiting or job.id in self._waits:
            return False
        flight.waiting[job.id] = job
        self._waits[job.id] = key
        return True

    def _lead(self, key: _Key, leader: Job, waiting: dict[str, Job]) -> None:
        self._flights[key] = _Flight(leader, waiting)
        self._leads[leader.id, leader.attempt] = key
        for job_id in waiting:
            self._waits[job_id] = key

    def _is_apart(self, key: _Key, now: float) -> bool:
        until = self._apart.get(key)
        if until is not None and until <= now:
            del self._apart[key]
            until = None
        return until is not None

    def _look_up(self, key: _Key, now: float) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until <= now:
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def _keep(self, key: _Key, job: Job, outcome: Outcome, now: float) -> None:
        size = _weight(outcome)
        if not self._config.entries or size > self._config.bytes:
            return
        if key in self._kept:
            self._forget(key)
        # Not with the job: what its guest was given may be large.
        bare = msgspec.structs.replace(outcome, basis=None)
        self._kept[key] = _Kept(job.id, bare, size, now + self._config.age)
        self._size += size
        while self._size > self._config.bytes or len(self._kept) > self._config.entries:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: _Key) -> None:
        self._size -= self._kept.pop(key).size


def is_answer(outcome: Outcome) -> bool:
    """Return whether an outcome is what the call itself came to, and not the clock, the machine or somebody's wish.

    A refused growth may be the machine's doing; so is what a guest's host had to give up on.
    """
    return outcome.status in _ANSWERS and (outcome.trap is None or outcome.trap.code != "host")


def answer(answered: Answered, *, charged: bool, queued: float, attempts: int) -> Outcome:
    """Return the outcome of a job that another's run answers; `charged` says whether it pays for that run as well."""
    job, source, outcome = answered
    fuel = outcome.fuel_used
    return msgspec.structs.replace(
        outcome,
        fuel_used=fuel if charged else 0,
        fuel_saved=0 if charged else fuel,
        reused=source,
        queued=queued,
        ran=0.0,
        attempts=attempts,
        worker=None,
        basis=job,
    )


def _key(job: Job) -> _Key:
    return job.tenant, call_digest(job.call), job.caps


def _weight(outcome: Outcome) -> int:
    """Return about how many bytes an outcome takes."""
    size = _ENTRY + outcome.weight()
    return size if outcome.trap is None else size + _FRAME * len(outcome.trap.backtrace)
