"""Which worker runs which job. Synchronous and without I/O: every method changes the books and returns what to send.

A worker is fed `depth` jobs ahead of those that have had their first turn, which keeps it busy without letting a
queue build up behind the wall, where priorities and fair shares no longer reach; all together it holds at most
`instances`. A job that is on its last attempt runs alone in a worker of its own: so only a job that kills its worker
by itself can be lost, never one that had the bad luck to run beside it. What one tenant may hold is bounded by what is
free: see `wasmq.pool.slots`.

A job starts only where there is room for all the memory that it can come to (`wasmq.pool.memory`). One that was claimed
and fits nowhere waits in a line here; those behind it that fit go on.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from wasmq.deadlines import time_left
from wasmq.pool.memory import Memory, need_of
from wasmq.pool.programs import Programs
from wasmq.pool.slots import Slots
from wasmq_worker import protocol
from wasmq_worker.protocol import Assignment, Cancel, GiveUp, ProtocolError, Refuel, Start, Unmap

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence

    from wasmq.job import Job, Program
    from wasmq.modules import Module
    from wasmq.pool.memory import Share
    from wasmq_worker.protocol import Asked, Ended, Exhausted, HostImport

_FRAME: Final = 16 * 2**20
"""Bytes of what jobs bring that go into one frame, unless a single job brings more."""
DEPTH: Final = 128
"""Jobs sent to a worker that have not had their first turn: a few milliseconds of short ones."""
LINE: Final = 32
"""Claimed jobs that may wait for memory; what comes on top goes back into the queue for a while."""
PROBE: Final = 8
"""Jobs that are claimed at once while the line is full, to find such as fit."""


class Sending(NamedTuple):
    """A frame that is to go to a worker; None lets the worker go."""

    worker: int
    frame: msgspec.Struct | None


class _Worker:
    __slots__ = ("asked", "fresh", "mapped", "running", "share", "suspended")

    def __init__(self, share: Share | None) -> None:
        self.share = share
        """None for a worker for single jobs, which have booked theirs before."""
        self.mapped: set[int] = set()
        self.running: dict[int, tuple[Job, float]] = {}
        self.fresh: set[int] = set()
        self.asked: dict[int, int] = {}
        self.suspended: set[int] = set()

    def check(self, tickets: Collection[int], what: str) -> None:
        """Raise `ProtocolError` unless the worker holds all these tickets; `what` says what one of them is said to."""
        strange = next((ticket for ticket in tickets if ticket not in self.running), None)
        if strange is not None:
            raise ProtocolError(f"ticket {strange} {what}, which it does not hold")

    def check_once(self, tickets: Collection[int], what: str) -> None:
        """Raise `ProtocolError` as `check` does, and when one of them is there twice."""
        self.check(tickets, what)
        if len(set(tickets)) < len(tickets):
            raise ProtocolError(f"a ticket {what} twice")


class Pool:
    """The books of one scheduler's workers."""

    def __init__(
        self,
        *,
        instances: int,
        memory: Memory,
        is_last: Callable[[Job], bool],
        weight: Callable[[str], float],
        modules: Callable[[str], Module],
        counted: Callable[[str], Module],
        imports: Callable[[Module], tuple[HostImport, ...]] = lambda _: (),
    ) -> None:
        self._instances = instances
        self.memory = memory
        self._is_last = is_last
        self._weight = weight
        self._modules = modules
        self._programs = Programs(modules, counted, imports)
        self._workers: dict[int, _Worker] = {}
        self._tickets: dict[str, tuple[int, int]] = {}
        self._slots = Slots()
        self._next_ticket = 1
        self._alone: deque[Job] = deque()
        self._line: list[Job] = []
        self._impossible: list[Job] = []

    @property
    def running(self) -> int:
        """Jobs that are with a worker, or wait for one of their own, or for memory."""
        return len(self._tickets) + len(self._alone) + len(self._line)

    @property
    def is_crowded(self) -> bool:
        """Whether as many jobs wait for memory as may."""
        return len(self._line) >= LINE

    @property
    def alone(self) -> int:
        """Jobs that wait for a worker of their own."""
        return len(self._alone)

    @property
    def workers(self) -> int:
        """Workers that can take jobs."""
        return len(self._workers)

    @property
    def suspended(self) -> int:
        """Jobs that are with a worker and wait to be refuelled."""
        return sum(len(worker.suspended) for worker in self._workers.values())

    def join(self, worker: int, *, solo: bool = False) -> None:
        """Enter a worker that is ready, under a number never used before."""
        self._workers[worker] = _Worker(None if solo else self.memory.take())

    def innocent(self, worker: int, begun: Container[int]) -> set[str]:
        """Return which of a dead worker's jobs had not begun, by what it said and by the record it left, `begun`.

        None, when no job at all had: then nobody knows whether one of them has ended it, such as by its mere module.
        """
        held = self._workers.get(worker)
        if held is None:
            return set()
        tickets = [ticket for ticket in held.fresh if ticket not in begun]
        if len(tickets) == len(held.running):
            return set()
        return {held.running[ticket][0].id for ticket in tickets}

    def leave(self, worker: int) -> list[Job]:
        """Strike off a worker that is gone, and return the jobs it had."""
        gone = self._workers.pop(worker, None)
        if gone is None:
            return []
        jobs = [job for job, _ in gone.running.values()]
        for job in jobs:
            self._strike(job)
        if gone.share is not None:
            self.memory.give_back(gone.share)
        return jobs

    def room(self) -> int:
        """Return how many jobs may be claimed for the workers: fewer while some wait for memory, 0 without workers."""
        slots = sum(self._room(worker) for worker in self._workers.values() if worker.share is not None)
        if not self._line:
            return slots
        return min(slots, PROBE if self.is_crowded else LINE - len(self._line))

    def wants(self) -> tuple[int, list[str]]:
        """Return how many jobs to assign next, and the tenants that have enough instances now: none of theirs."""
        free = sum(
            self._instances - len(worker.running) for worker in self._workers.values() if worker.share is not None
        )
        return min(self.room(), self._slots.batch(free)), self._slots.sated(free)

    def assign(self, jobs: Iterable[Job], now: float) -> list[Sending]:
        """Give each job to the worker with the least to do that has the memory; those that fit nowhere wait in line.

        `now` is what `ended` will say of when they started. Ask for the `impossible` ones and the `overflow` then.
        """
        round_ = _Round(now)
        rest = [job for job in jobs if not self._place(job, round_)]
        if rest:
            self._impossible += [job for job in rest if self._need(job) > self.memory.size]
            self._line = sorted([*self._line, *[job for job in rest if self._need(job) <= self.memory.size]], key=_turn)
            self._reserve()
        return round_.sendings()

    def impossible(self) -> list[Job]:
        """Return the jobs that were to be assigned and that no worker has the memory for, each once."""
        jobs, self._impossible = self._impossible, []
        return jobs

    def resume(self, now: float) -> list[Sending]:
        """Give out the jobs in line for which there is room now."""
        if not self._line:
            return []
        round_ = _Round(now)
        # Who has the reservation goes first: what others take must not be what has just become free for it.
        for job in sorted(self._line, key=lambda job: job.id != self.memory.reserved):
            if self._place(job, round_):
                self._line.remove(job)
            elif self.memory.reserved is None:
                self._reserve()
        return round_.sendings()

    def overflow(self) -> list[Job]:
        """Strike off the jobs that the line has no room for, those whose turn is last, and return them."""
        if len(self._line) <= LINE:
            return []
        kept = sorted(self._line, key=lambda job: (job.id != self.memory.reserved, _turn(job)))
        self._line, over = sorted(kept[:LINE], key=_turn), kept[LINE:]
        return over

    def underway(self, worker: int, tickets: Collection[int]) -> None:
        """Note that jobs have had their first turn. Raises `ProtocolError` for a ticket that is not the worker's."""
        held = self._workers[worker]
        held.check(tickets, "is underway")
        held.fresh.difference_update(tickets)

    def ended(self, worker: int, ends: Sequence[Ended]) -> list[tuple[Job, float, Ended]]:
        """Strike off jobs that ended, and return each with when it was assigned.

        Raises `ProtocolError` for a ticket that the worker does not hold; then none is struck off, and all are still
        there for `leave`.
        """
        held = self._workers[worker]
        held.check_once([end.ticket for end in ends], "has an outcome")
        found = []
        for end in ends:
            job, assigned = held.running.pop(end.ticket)
            held.fresh.discard(end.ticket)
            held.suspended.discard(end.ticket)
            held.asked.pop(end.ticket, None)
            self._strike(job)
            found.append((job, assigned, end))
        return found

    def exhausted(self, worker: int, exhausted: Exhausted) -> Job | None:
        """Note that a job has spent its fuel and is suspended, and return it; None if it has been refuelled since.

        Raises `ProtocolError` for a ticket that the worker does not hold, a job that is not to be suspended, or fuel
        that it never had.
        """
        held = self._workers[worker]
        entry = held.running.get(exhausted.ticket)
        if entry is None or not entry[0].refuellable or exhausted.fuel > entry[0].fuel:
            raise ProtocolError(f"ticket {exhausted.ticket} is suspended at {exhausted.fuel} fuel, which cannot be")
        job, _ = entry
        if exhausted.fuel < job.fuel:
            return None
        held.fresh.discard(exhausted.ticket)
        held.suspended.add(exhausted.ticket)
        return job

    def is_suspended(self, job_id: str) -> bool:
        """Return whether a job is with a worker and waits to be refuelled."""
        place = self._tickets.get(job_id)
        return place is not None and place[1] in self._workers[place[0]].suspended

    def refuel(self, job: Job) -> list[Sending]:
        """Take a job's raised cap, and return the frame that lets it go on; nothing when no worker has it."""
        place = self._tickets.get(job.id)
        if place is None:
            return []
        worker, ticket = place
        held = self._workers[worker]
        known, assigned = held.running[ticket]
        # Answers of the store may come in another order than it gave them.
        if known.attempt != job.attempt or known.refuelled >= job.refuelled:
            return []
        held.running[ticket] = (msgspec.structs.replace(known, refuelled=job.refuelled), assigned)
        held.suspended.discard(ticket)
        return [Sending(worker, Refuel(ticket, job.fuel))]

    def give_up(self, job_id: str, reason: str) -> list[Sending]:
        """Return the frame that ends a suspended job; nothing when no worker has it."""
        place = self._tickets.get(job_id)
        return [] if place is None else [Sending(place[0], GiveUp([place[1]], reason))]

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

    def returned(self, worker: int, tickets: Sequence[int]) -> list[Job]:
        """Strike off jobs that a worker never started. Raises `ProtocolError` as `ended` does."""
        held = self._workers[worker]
        held.check_once(tickets, "came back")
        jobs = []
        for ticket in tickets:
            job, _ = held.running.pop(ticket)
            held.fresh.discard(ticket)
            self._strike(job)
            jobs.append(job)
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

    def drop_waiting(self, ids: Iterable[str]) -> list[Job]:
        """Strike off those of the jobs that wait for a worker of their own or for memory, and return them."""
        if not self._alone and not self._line:
            return []
        wanted = set(ids)
        dropped = [job for job in self._alone if job.id in wanted]
        self._alone = deque(job for job in self._alone if job.id not in wanted)
        for job in dropped:
            self.memory.free(job.id)
        in_line = [job for job in self._line if job.id in wanted]
        self._line = [job for job in self._line if job.id not in wanted]
        if self.memory.reserved in wanted:
            self.memory.forgo()
        return dropped + in_line

    def disperse(self) -> list[Job]:
        """Strike off every job that waits for memory, and return them."""
        return self.drop_waiting([job.id for job in self._line])

    def disband(self) -> list[Job]:
        """Strike off every job that waits for a worker of its own or for memory, and return them."""
        return self.drop_waiting([job.id for job in (*self._alone, *self._line)])

    def is_idle_solo(self, worker: int) -> bool:
        """Return whether this is a worker for single jobs that has none."""
        held = self._workers.get(worker)
        return held is not None and held.share is None and not held.running

    def feed_alone(self, worker: int, now: float) -> list[Sending]:
        """Give an idle solo worker the next job that must run alone; nothing when there is none."""
        if not self._alone:
            return []
        sendings: list[Sending] = []
        assignment = self._enter(worker, self._workers[worker], self._alone.popleft(), now, sendings)
        return [*sendings, Sending(worker, Start([assignment]))]

    def _place(self, job: Job, round_: _Round) -> bool:
        """Give a job to a worker, or let it wait for one of its own; False when no share has the memory now."""
        need = self._need(job)
        if self._is_last(job):
            share = self.memory.any_share(job.id, need)
            if share is None:
                return False
            self.memory.book(share, job.id, need)
            self._alone.append(job)
            return True
        number = self._worker_for(job, need)
        if number is None:
            return False
        worker = self._workers[number]
        assert worker.share is not None
        self.memory.book(worker.share, job.id, need)
        assignment = self._enter(number, worker, job, round_.now, round_.ahead)
        round_.batches.setdefault(number, []).append(assignment)
        return True

    def _worker_for(self, job: Job, need: int) -> int | None:
        """Return the worker with the least to do that can take a job now."""
        best, least = None, 0
        for number, worker in self._workers.items():
            running = len(worker.running)
            if (
                worker.share is not None
                and (best is None or running < least)
                and self._room(worker)
                and self.memory.fits(worker.share, job.id, need)
            ):
                best, least = number, running
        return best

    def _need(self, job: Job) -> int:
        return need_of(job, [self._modules(digest) for digest in job.call.modules()])

    def _reserve(self) -> None:
        if self.memory.reserved is None and self._line:
            self.memory.reserve(self._line[0].id, self._need(self._line[0]))

    def _strike(self, job: Job) -> None:
        del self._tickets[job.id]
        self.memory.free(job.id)
        self._slots.leave(job.tenant)

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
            job.fuel,
            caps.memory,
            time_left(job, now),
            caps.output,
            self._slots.enter(job.tenant),
            self._weight(job.tenant),
            None if call.program is None else _program(call.program, caps.files),
            caps.host_calls,
            job.refuellable,
        )

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs that are with a worker, or wait for one of their own, or for memory."""
        for worker in self._workers.values():
            for job, _ in worker.running.values():
                yield job
        yield from self._alone
        yield from self._line

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


class _Round:
    """Assignments of one moment: the frames that go ahead of them, and the batches by worker."""

    __slots__ = ("ahead", "batches", "now")

    def __init__(self, now: float) -> None:
        self.now = now
        self.ahead: list[Sending] = []
        self.batches: dict[int, list[Assignment]] = {}

    def sendings(self) -> list[Sending]:
        sendings = self.ahead
        for number, batch in self.batches.items():
            sendings += [Sending(number, Start(part)) for part in _parts(batch)]
        return sendings


def _turn(job: Job) -> tuple[int, float, str]:
    """Return what orders jobs as a claim does."""
    return -job.priority, job.order, job.id


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
