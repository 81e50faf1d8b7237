"""Which worker runs which job. Synchronous and without I/O: every method changes the books and returns what to send.

A worker is fed `depth` jobs ahead of those that have had their first turn, which keeps it busy without letting a
queue build up behind the wall, where priorities and fair shares no longer reach; all together it holds at most
`instances`. A job that is on its last attempt runs alone in a worker of its own: so only a job that kills its worker
by itself can be lost, never one that had the bad luck to run beside it. What one tenant may hold is bounded by what is
free: see `wasmq.pool.slots`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from wasmq.pool.programs import Programs
from wasmq.pool.slots import Slots
from wasmq_worker import protocol
from wasmq_worker.protocol import Assignment, Cancel, ProtocolError, Start, Unmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import msgspec

    from wasmq.job import Job, Program
    from wasmq.modules import Module
    from wasmq_worker.protocol import Asked, Ended, HostImport

_FRAME: Final = 16 * 2**20
"""Bytes of what jobs bring that go into one frame, unless a single job brings more."""
DEPTH: Final = 128
"""Jobs sent to a worker that have not had their first turn: a few milliseconds of short ones."""


class Sending(NamedTuple):
    """A frame that is to go to a worker; None lets the worker go."""

    worker: int
    frame: msgspec.Struct | None


class _Worker:
    __slots__ = ("asked", "fresh", "mapped", "running", "solo")

    def __init__(self, *, solo: bool) -> None:
        self.solo = solo
        self.mapped: set[int] = set()
        self.running: dict[int, tuple[Job, float]] = {}
        self.fresh: set[int] = set()
        self.asked: dict[int, int] = {}


class Pool:
    """The books of one scheduler's workers."""

    def __init__(
        self,
        *,
        instances: int,
        is_last: Callable[[Job], bool],
        weight: Callable[[str], float],
        modules: Callable[[str], Module],
        counted: Callable[[str], Module],
        imports: Callable[[Module], tuple[HostImport, ...]] = lambda _: (),
    ) -> None:
        self._instances = instances
        self._is_last = is_last
        self._weight = weight
        self._programs = Programs(modules, counted, imports)
        self._workers: dict[int, _Worker] = {}
        self._tickets: dict[str, tuple[int, int]] = {}
        self._slots = Slots()
        self._next_ticket = 1
        self._alone: deque[Job] = deque()

    @property
    def running(self) -> int:
        """Jobs that are with a worker, or wait for one of their own."""
        return len(self._tickets) + len(self._alone)

    @property
    def alone(self) -> int:
        """Jobs that wait for a worker of their own."""
        return len(self._alone)

    @property
    def workers(self) -> int:
        """Workers that can take jobs."""
        return len(self._workers)

    def join(self, worker: int, *, solo: bool = False) -> None:
        """Enter a worker that is ready, under a number never used before."""
        self._workers[worker] = _Worker(solo=solo)

    def leave(self, worker: int) -> list[Job]:
        """Strike off a worker that is gone, and return the jobs it had."""
        gone = self._workers.pop(worker, None)
        if gone is None:
            return []
        jobs = [job for job, _ in gone.running.values()]
        for job in jobs:
            self._strike(job)
        return jobs

    def room(self) -> int:
        """Return how many jobs the workers could take now."""
        return sum(self._room(worker) for worker in self._workers.values() if not worker.solo)

    def wants(self) -> tuple[int, list[str]]:
        """Return how many jobs to assign next, and the tenants that have enough instances now: none of theirs."""
        free = sum(self._instances - len(worker.running) for worker in self._workers.values() if not worker.solo)
        return min(self.room(), self._slots.batch(free)), self._slots.sated(free)

    def assign(self, jobs: Iterable[Job], now: float) -> list[Sending]:
        """Give each job to the worker with the least to do. `now` is what `ended` will say of when it started."""
        shared = {number: worker for number, worker in self._workers.items() if not worker.solo}
        batches: dict[int, list[Assignment]] = {}
        sendings: list[Sending] = []
        for job in jobs:
            if self._is_last(job):
                self._alone.append(job)
                continue
            number = min(shared, key=lambda n: len(shared[n].running))
            batches.setdefault(number, []).append(self._enter(number, shared[number], job, now, sendings))
        for number, batch in batches.items():
            sendings += [Sending(number, Start(part)) for part in _parts(batch)]
        return sendings

    def underway(self, worker: int, tickets: Iterable[int]) -> None:
        """Note that jobs have had their first turn."""
        self._workers[worker].fresh.difference_update(tickets)

    def ended(self, worker: int, ends: Iterable[Ended]) -> list[tuple[Job, float, Ended]]:
        """Strike off jobs that ended, and return each with when it was assigned.

        Raises `ProtocolError` for a ticket that the worker does not hold.
        """
        held = self._workers[worker]
        found = []
        for end in ends:
            entry = held.running.pop(end.ticket, None)
            if entry is None:
                raise ProtocolError(f"an outcome came for ticket {end.ticket}, which it does not hold")
            job, assigned = entry
            held.fresh.discard(end.ticket)
            held.asked.pop(end.ticket, None)
            self._strike(job)
            found.append((job, assigned, end))
        return found

    def asked(self, worker: int, asked: Asked) -> Job:
        """Return the job that makes a host call.

        Raises `ProtocolError` for a ticket that the worker does not hold, or a call out of turn or beyond the limit.
        """
        held = self._workers[worker]
        entry = held.running.get(asked.ticket)
        if entry is None:
            raise ProtocolError(f"a host call came for ticket {asked.ticket}, which it does not hold")
        job, _ = entry
        last = held.asked.get(asked.ticket, 0)
        if not last < asked.call <= job.caps.host_calls:
            raise ProtocolError(f"host call {asked.call} of ticket {asked.ticket} came after call {last}")
        held.asked[asked.ticket] = asked.call
        return job

    def returned(self, worker: int, tickets: Iterable[int]) -> list[Job]:
        """Strike off jobs that a worker never started. Raises `ProtocolError` for a ticket it does not hold."""
        held = self._workers[worker]
        jobs = []
        for ticket in tickets:
            entry = held.running.pop(ticket, None)
            if entry is None:
                raise ProtocolError(f"ticket {ticket} came back, which it does not hold")
            held.fresh.discard(ticket)
            self._strike(entry[0])
            jobs.append(entry[0])
        return jobs

    def cancel(self, ids: Iterable[str]) -> list[Sending]:
        """Return the frames that cancel those of the jobs that are with a worker."""
        tickets: dict[int, list[int]] = {}
        for job_id in ids:
            place = self._tickets.get(job_id)
            if place is not None:
                tickets.setdefault(place[0], []).append(place[1])
        return [Sending(worker, Cancel(batch)) for worker, batch in tickets.items()]

    def where(self, job_id: str) -> tuple[int, int, Job] | None:
        """Return a job's worker, its ticket there and the job as it was claimed; None when no worker has it."""
        place = self._tickets.get(job_id)
        if place is None:
            return None
        worker, ticket = place
        return worker, ticket, self._workers[worker].running[ticket][0]

    def holds(self, job_id: str) -> bool:
        """Return whether a job is with a worker."""
        return job_id in self._tickets

    def drop_alone(self, ids: Iterable[str]) -> list[Job]:
        """Strike off those of the jobs that wait for a worker of their own, and return them."""
        if not self._alone:
            return []
        wanted = set(ids)
        dropped = [job for job in self._alone if job.id in wanted]
        self._alone = deque(job for job in self._alone if job.id not in wanted)
        return dropped

    def disband(self) -> list[Job]:
        """Strike off every job that waits for a worker of its own, and return them."""
        jobs = list(self._alone)
        self._alone.clear()
        return jobs

    def is_idle_solo(self, worker: int) -> bool:
        """Return whether this is a worker for single jobs that has none."""
        held = self._workers.get(worker)
        return held is not None and held.solo and not held.running

    def feed_alone(self, worker: int, now: float) -> list[Sending]:
        """Give an idle solo worker the next job that must run alone; nothing when there is none."""
        if not self._alone:
            return []
        sendings: list[Sending] = []
        assignment = self._enter(worker, self._workers[worker], self._alone.popleft(), now, sendings)
        return [*sendings, Sending(worker, Start([assignment]))]

    def _enter(self, number: int, worker: _Worker, job: Job, now: float, sendings: list[Sending]) -> Assignment:
        caps, call = job.caps, job.call
        program = self._programs.of(call)
        if program.number not in worker.mapped:
            sendings += [Sending(number, frame) for frame in program.frames(worker.mapped)]
            sendings += self._forget()
        ticket = self._next_ticket
        self._next_ticket = ticket + 1
        worker.running[ticket] = (job, now)
        worker.fresh.add(ticket)
        self._tickets[job.id] = (number, ticket)
        return Assignment(
            ticket,
            program.number,
            program.module.places[call.export],
            call.args,
            caps.fuel,
            caps.memory,
            caps.timeout,
            caps.output,
            self._slots.enter(job.tenant),
            self._weight(job.tenant),
            None if call.program is None else _program(call.program, caps.files),
            caps.host_calls,
        )

    def _strike(self, job: Job) -> None:
        del self._tickets[job.id]
        self._slots.leave(job.tenant)

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs that are with a worker, or wait for one of their own."""
        for worker in self._workers.values():
            for job, _ in worker.running.values():
                yield job
        yield from self._alone

    def forget(self, digest: str) -> None:
        """Let go of a module that none of the `jobs` needs; workers are told before they get the next one."""
        self._programs.forget(digest)

    def mapped(self, number: int) -> Module | None:
        """Return the module whose artifact workers know by a number, None when it has been replaced by another."""
        return self._programs.mapped(number)

    def _forget(self) -> list[Sending]:
        """Return the frames by which workers forget what is too old to be kept."""
        sendings = []
        for number in self._programs.forgotten():
            for name, worker in self._workers.items():
                if number in worker.mapped:
                    worker.mapped.discard(number)
                    sendings.append(Sending(name, Unmap(number)))
        return sendings

    def _room(self, worker: _Worker) -> int:
        return max(0, min(DEPTH - len(worker.fresh), self._instances - len(worker.running)))


def _parts(batch: list[Assignment]) -> Iterator[list[Assignment]]:
    """Yield a batch in parts that a frame has room for."""
    part: list[Assignment] = []
    size = 0
    for assignment in batch:
        if weight := assignment.size():
            if part and size + weight > _FRAME:
                yield part
                part, size = [], 0
            size += weight
        part.append(assignment)
    yield part


def _program(program: Program, quota: int) -> protocol.Program:
    return protocol.Program(
        (program.name, *program.argv),
        program.env,
        program.stdin,
        program.files,
        {name: access == "ro" for name, access in program.dirs.items()},
        program.collect,
        quota,
        program.deterministic,
    )
