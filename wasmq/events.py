"""What happens to a job, told while it happens: its states, the fuel it has spent, its output as it comes, its end.

A job that can be refuelled is suspended and goes on any number of times between its start and its end.

A worker tells of a job only when somebody watches it, and only when that one has taken in what was told before: so
nothing piles up behind an onlooker who is slow, and a job that nobody watches costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from wasmq.bell import Bell
from wasmq.errors import SchedulerClosed
from wasmq.job import Outcome
from wasmq.pool.pool import Sending
from wasmq_worker.protocol import AT_ONCE, Unwatch, Watch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator

    from wasmq.job import Job
    from wasmq.pool.pool import Pool
    from wasmq.store import JobRecord
    from wasmq_worker.protocol import Glimpse

__all__ = [
    "JobEvent",
    "JobFinished",
    "JobOutput",
    "JobProgress",
    "JobQueued",
    "JobRefuelled",
    "JobStarted",
    "JobSuspended",
    "Onlookers",
    "Position",
    "follow",
]

_AT_ONCE: Final = 0.1  # seconds that a worker may take to say what a job has spent
_NO_OUTPUT: Final = 2**62  # bytes of output that nobody has beyond
_LOOK_AGAIN: Final = 1.0  # seconds after which a job is looked up that is not with a worker here: others may have it
_PIECE: Final = 64 * 2**10  # bytes of output in one event


class JobQueued(msgspec.Struct, frozen=True, tag_field="event", tag="queued", gc=False):
    """The job waits for its turn; it has been started `attempt` times before."""

    attempt: int


class JobStarted(msgspec.Struct, frozen=True, tag_field="event", tag="started", gc=False):
    """The job was given to a worker, for the `attempt`th time. Its output begins anew."""

    attempt: int


class JobProgress(msgspec.Struct, frozen=True, tag_field="event", tag="progress", gc=False):
    """The job runs, and has spent so much fuel: a little less than the truth, for only whole slices are counted."""

    attempt: int
    fuel_used: int


class JobOutput(msgspec.Struct, frozen=True, tag_field="event", tag="output", gc=False):
    """The job has written `data`, `offset` bytes after the beginning of the stream."""

    attempt: int
    stream: Literal["stdout", "stderr"]
    offset: int
    data: bytes


class JobSuspended(msgspec.Struct, frozen=True, tag_field="event", tag="suspended", gc=False):
    """The job has spent `fuel_used`, all that it may, and waits to be refuelled."""

    attempt: int
    fuel_used: int


class JobRefuelled(msgspec.Struct, frozen=True, tag_field="event", tag="refuelled", gc=False):
    """The job may now spend `fuel` in all."""

    attempt: int
    fuel: int


class JobFinished(msgspec.Struct, frozen=True, tag_field="event", tag="finished", gc=False):
    """The job has ended; all that was kept of its output has been told before."""

    outcome: Outcome


JobEvent: TypeAlias = JobQueued | JobStarted | JobProgress | JobOutput | JobSuspended | JobRefuelled | JobFinished
_Told: TypeAlias = JobQueued | JobStarted | None
_Fuelled: TypeAlias = JobSuspended | JobRefuelled | None


class Position(msgspec.Struct, frozen=True, gc=False):
    """How much somebody has heard of a job: which attempt, and how many bytes of its output."""

    attempt: int = 0
    stdout: int = 0
    stderr: int = 0

    def __str__(self) -> str:
        return f"{self.attempt}.{self.stdout}.{self.stderr}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """Return the position that `text` is the form of, None when it is none."""
        parts = text.split(".")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 12 for part in parts):
            return None
        return cls(*map(int, parts))

    def during(self, attempt: int) -> Position:
        """Return how much has been heard of an attempt: nothing, if it is another one."""
        return self if attempt == self.attempt else Position(attempt)

    def behind(self, event: JobEvent) -> Position:
        """Return the position of who has heard `event` too."""
        match event:
            case JobStarted():
                return self.during(event.attempt)
            case JobOutput(stream="stdout"):
                return Position(event.attempt, event.offset + len(event.data), self.during(event.attempt).stderr)
            case JobOutput():
                return Position(event.attempt, self.during(event.attempt).stdout, event.offset + len(event.data))
        return self


class _Onlooker:
    """One who watches a job. What has come for it stays here until it is taken: at most one glimpse, and the newest."""

    __slots__ = (
        "asked",
        "bell",
        "closed",
        "end",
        "fuel",
        "fuelled",
        "glimpse",
        "id",
        "number",
        "position",
        "state",
        "worker",
    )

    def __init__(self, number: int, job_id: str, position: Position) -> None:
        self.number = number
        self.id = job_id
        self.position = position
        self.asked = 0
        self.fuel = 0
        self.worker: int | None = None
        self.state: _Told = None
        self.fuelled: _Fuelled = None
        self.glimpse: Glimpse | None = None
        self.end: tuple[Job, Outcome] | None = None
        self.closed = False
        self.bell = Bell()


class Onlookers:
    """Everybody who watches a job of one scheduler. `send` takes frames to workers."""

    def __init__(self, pool: Pool, send: Callable[[Iterable[Sending]], None]) -> None:
        self._pool = pool
        self._send = send
        self._next = 1
        self._by_number: dict[int, _Onlooker] = {}
        self._by_job: dict[str, set[_Onlooker]] = {}

    def open(self, job_id: str, position: Position) -> _Onlooker:
        """Begin to watch a job, from a position on."""
        onlooker = self._enter(job_id, position)
        self._send(self.look())
        return onlooker

    def _enter(self, job_id: str, position: Position) -> _Onlooker:
        onlooker = _Onlooker(self._next, job_id, position)
        self._next += 1
        self._by_number[onlooker.number] = onlooker
        self._by_job.setdefault(job_id, set()).add(onlooker)
        return onlooker

    def close(self, onlooker: _Onlooker) -> None:
        """Watch no more."""
        del self._by_number[onlooker.number]
        watching = self._by_job[onlooker.id]
        watching.discard(onlooker)
        if not watching:
            del self._by_job[onlooker.id]
        if onlooker.worker is not None:
            self._send([Sending(onlooker.worker, Unwatch([onlooker.number]))])

    def look(self) -> list[Sending]:
        """See which of the watched jobs have been given to a worker, and return the frames that ask it for news."""
        if not self._by_job:
            return []
        sendings = []
        for job_id, watching in self._by_job.items():
            where = self._pool.where(job_id)
            if where is None:
                continue
            started = JobStarted(where[2].attempt)
            for onlooker in watching:
                if onlooker.state != started:
                    onlooker.state = started
                    onlooker.fuelled = JobSuspended(*_spent(where[2])) if self._pool.is_suspended(job_id) else None
                    onlooker.bell.ring()
                    if onlooker.glimpse is None:
                        sendings += self._ask(onlooker)
        return sendings

    def heard(self, onlooker: _Onlooker) -> None:
        """Ask for more: the last glimpse has been taken in."""
        if onlooker.glimpse is not None:
            onlooker.fuel = max(onlooker.fuel, onlooker.glimpse.fuel)
            onlooker.glimpse = None
        self._send(self._ask(onlooker))

    def runs_here(self, onlooker: _Onlooker) -> bool:
        """Return whether a worker has the job, so that its end will be told."""
        return self._pool.where(onlooker.id) is not None

    def seen(self, worker: int, glimpses: Iterable[Glimpse]) -> None:
        """Hand over what a worker tells; it speaks only when asked, and what nobody asked for is let fall."""
        for glimpse in glimpses:
            onlooker = self._by_number.get(glimpse.watch)
            if onlooker is not None and onlooker.worker == worker and onlooker.glimpse is None:
                onlooker.worker = None
                onlooker.glimpse = glimpse
                onlooker.bell.ring()

    def queued(self, jobs: Iterable[Job]) -> None:
        """Note that jobs go back to the queue."""
        for job in jobs if self._by_job else ():
            for onlooker in self._by_job.get(job.id, ()):
                onlooker.state = JobQueued(job.attempt)
                onlooker.fuelled = None
                onlooker.worker = None
                onlooker.bell.ring()

    def suspended(self, job: Job) -> None:
        """Note that a job has spent all its fuel."""
        self._fuelled(job.id, JobSuspended(*_spent(job)))

    def refuelled(self, job: Job) -> None:
        """Note that a job may spend more."""
        self._fuelled(job.id, JobRefuelled(*_spent(job)))

    def _fuelled(self, job_id: str, event: JobSuspended | JobRefuelled) -> None:
        for onlooker in self._by_job.get(job_id, ()):
            onlooker.fuelled = event
            onlooker.bell.ring()

    async def spent(self, job_id: str) -> int | None:
        """Ask a job's worker what it has spent by now; None when no worker has it, or none answers at once."""
        where = self._pool.where(job_id)
        if where is None:
            return None
        worker, ticket, job = where
        onlooker = self._enter(job_id, Position())
        # Whatever else happens to the job is an answer too: there is nothing more to wait for.
        onlooker.state = JobStarted(job.attempt)
        onlooker.worker = worker
        try:
            self._send([Sending(worker, Watch(onlooker.number, ticket, AT_ONCE, _NO_OUTPUT, _NO_OUTPUT))])
            await onlooker.bell.wait(_AT_ONCE)
        finally:
            self.close(onlooker)
        return None if onlooker.glimpse is None else min(max(onlooker.glimpse.fuel, 0), job.fuel)

    def finished(self, job: Job, outcome: Outcome) -> None:
        """Note that a job has ended."""
        if self._by_job:
            for onlooker in self._by_job.get(job.id, ()):
                onlooker.end = (job, outcome)
                onlooker.bell.ring()

    def abandon(self) -> None:
        """Let everybody know that nothing more will be told."""
        for onlooker in self._by_number.values():
            onlooker.closed = True
            onlooker.bell.ring()

    def _ask(self, onlooker: _Onlooker) -> list[Sending]:
        where = self._pool.where(onlooker.id)
        if where is None:
            return []
        worker, ticket, job = where
        known = onlooker.position.during(job.attempt)
        onlooker.worker = worker
        if onlooker.asked != job.attempt:
            onlooker.asked = job.attempt
            onlooker.fuel = 0
        return [Sending(worker, Watch(onlooker.number, ticket, onlooker.fuel, known.stdout, known.stderr))]


async def follow(
    job_id: str, position: Position, onlookers: Onlookers, look_up: Callable[[str], Awaitable[JobRecord]]
) -> AsyncGenerator[JobEvent]:
    """Yield what happens to a job, from its present state to its end; output that `position` has heard is left out.

    Of a job that another daemon runs only the states are told. Raises `UnknownJob`, and `SchedulerClosed` when the
    scheduler stops before the job has ended.
    """
    onlooker = onlookers.open(job_id, position)
    told: _Told = None
    fuelled: _Fuelled = None
    try:
        while True:
            if onlooker.end is None and not onlookers.runs_here(onlooker):
                _learn(onlooker, await look_up(job_id))
            if onlooker.glimpse is not None:
                for event in _news(onlooker, onlooker.glimpse, told):
                    if isinstance(event, JobStarted):
                        told = event
                    onlooker.position = onlooker.position.behind(event)
                    yield event
                onlookers.heard(onlooker)
            if onlooker.state is not None and onlooker.state != told:
                told = onlooker.state
                onlooker.position = onlooker.position.behind(told)
                yield told
            if onlooker.fuelled is not None and onlooker.fuelled != fuelled:
                fuelled = onlooker.fuelled
                yield fuelled
            if onlooker.end is not None:
                job, outcome = onlooker.end
                for event in _rest(onlooker.position.during(job.attempt), job.attempt, outcome):
                    yield event
                yield JobFinished(outcome)
                return
            if onlooker.closed:
                raise SchedulerClosed(f"the scheduler stopped before job {job_id} finished")
            await onlooker.bell.wait(_LOOK_AGAIN)
    finally:
        onlookers.close(onlooker)


def _spent(job: Job) -> tuple[int, int]:
    return job.attempt, job.fuel


def _learn(onlooker: _Onlooker, record: JobRecord) -> None:
    """Take in what the store says, unless more is known meanwhile."""
    if record.outcome is not None:
        onlooker.end = onlooker.end or (record.job, record.outcome)
        return
    attempt = record.job.attempt
    state = JobStarted(attempt) if record.state == "running" else JobQueued(attempt)
    if onlooker.state is None or _rank(onlooker.state) < _rank(state):
        onlooker.state = state


def _rank(state: JobQueued | JobStarted) -> tuple[int, bool]:
    """Return what grows from each state of a job to the next."""
    return state.attempt, isinstance(state, JobQueued)


def _news(onlooker: _Onlooker, glimpse: Glimpse, told: _Told) -> list[JobEvent]:
    attempt = onlooker.asked
    known = onlooker.position.during(attempt)
    events: list[JobEvent] = []
    if told != JobStarted(attempt):
        events.append(JobStarted(attempt))
    if glimpse.fuel > onlooker.fuel:
        events.append(JobProgress(attempt, glimpse.fuel))
    if glimpse.stdout:
        events.append(JobOutput(attempt, "stdout", known.stdout, glimpse.stdout))
    if glimpse.stderr:
        events.append(JobOutput(attempt, "stderr", known.stderr, glimpse.stderr))
    return events


def _rest(known: Position, attempt: int, outcome: Outcome) -> Iterator[JobOutput]:
    """Yield what was kept of a job's output and has not been told, in pieces."""
    for offset in range(known.stdout, len(outcome.stdout), _PIECE):
        yield JobOutput(attempt, "stdout", offset, outcome.stdout[offset : offset + _PIECE])
    for offset in range(known.stderr, len(outcome.stderr), _PIECE):
        yield JobOutput(attempt, "stderr", offset, outcome.stderr[offset : offset + _PIECE])
