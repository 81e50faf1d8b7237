"""What follows from what the workers do: the pool's books, news for the settle loop, frames to send back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmq.logs import get_logger
from wasmq.pool.pool import Sending
from wasmq.recording import NOTHING
from wasmq.settle import Died, HandedBack, Ran, Starved
from wasmq_worker.protocol import (
    STARVED,
    Asks,
    Outcomes,
    Progress,
    ProtocolError,
    Pulse,
    Suspended,
    Underway,
    Unmappable,
)

if TYPE_CHECKING:
    from collections.abc import Container

    from wasmq.bell import Bell
    from wasmq.clock import Clock
    from wasmq.estimate import Estimator
    from wasmq.events import Onlookers
    from wasmq.host import HostFunctions
    from wasmq.host_calls import HostCalls
    from wasmq.job import Job
    from wasmq.metrics import Metrics
    from wasmq.modules import Library
    from wasmq.pool.pool import Pool
    from wasmq.recording import Recorded
    from wasmq.refuelling import Refuelling
    from wasmq.settle import Settler
    from wasmq_worker.protocol import Asked, Ended, Upward


class Foreman:
    """Is told by the crew. `work` is rung when there may be room for more jobs."""

    def __init__(
        self,
        *,
        pool: Pool,
        settler: Settler,
        library: Library,
        functions: HostFunctions,
        calls: HostCalls,
        metrics: Metrics,
        clock: Clock,
        work: Bell,
        onlookers: Onlookers,
        refuelling: Refuelling,
        estimator: Estimator,
    ) -> None:
        self._estimator = estimator
        self._pool = pool
        self._library = library
        self._functions = functions
        self._calls = calls
        self._settler = settler
        self._metrics = metrics
        self._clock = clock
        self._work = work
        self._onlookers = onlookers
        self._refuelling = refuelling
        self._log = get_logger()

    def joined(self, worker: int, *, solo: bool, pace: float) -> list[Sending]:
        """See `Overseer.joined`."""
        self._estimator.calibrate(pace)
        self._pool.join(worker, solo=solo)
        self._work.ring()
        return self._next_alone(worker)

    def said(self, worker: int, frame: Upward) -> list[Sending]:
        """See `Overseer.said`."""
        match frame:
            case Outcomes():
                name = str(worker)
                ended = self._pool.ended(worker, frame.ended)
                self._calls.drop(worker, [end.ticket for end in frame.ended])
                self._refuelling.over([job for job, _, _ in ended])
                self._settler.add([self._news(worker, name, *each) for each in ended])
                return self._next_alone(worker)
            case Underway():
                self._pool.underway(worker, frame.tickets)
                self._work.ring()
            case Suspended():
                for exhausted in frame.exhausted:
                    job = self._pool.exhausted(worker, exhausted)
                    if job is not None:
                        self._refuelling.suspended(job)
                self._work.ring()
            case Asks():
                for asked in frame.asked:
                    self._asked(worker, asked)
                self._calls.flush()
            case Unmappable():
                jobs = self._pool.returned(worker, frame.tickets)
                module = self._pool.mapped(frame.module)
                self._settler.add([HandedBack(job, frame.reason, module) for job in jobs])
                return self._next_alone(worker)
            case Progress():
                self._onlookers.seen(worker, frame.seen)
            case Pulse():
                self._metrics.quanta(frame.quanta, frame.quanta_total)
            case _:
                raise ProtocolError(f"{type(frame).__name__} came out of turn")
        return []

    def left(self, worker: int, reason: str, words: str, begun: Container[int]) -> None:
        """See `Overseer.left`."""
        innocent = self._pool.innocent(worker, begun)
        jobs = self._pool.leave(worker)
        self._calls.drop_all(worker)
        self._refuelling.over(jobs)
        why = f"{reason}: {words}" if words else reason
        self._settler.add([Died(job, why, innocent=job.id in innocent) for job in jobs])
        if reason != "stopped":
            self._metrics.worker_restarted(reason)
            self._log.warning("worker.lost", worker=worker, reason=reason, words=words, jobs=len(jobs))

    def _asked(self, worker: int, asked: Asked) -> None:
        job = self._pool.asked(worker, asked)
        # A job was accepted with all that its modules import, so whatever that is has been granted.
        modules = [self._library[digest] for digest in job.call.modules()]
        function = self._functions.imported(asked.function, modules, [name for name, _ in job.call.links])
        self._calls.begin(worker, job, asked, function)

    def _news(self, worker: int, name: str, job: Job, assigned: float, end: Ended) -> Ran | Starved:
        recorded = self._recorded(worker, end, job)
        if end.status == STARVED:
            return Starved(job, end.error or STARVED)
        return Ran(job, assigned, end, name, recorded)

    def _recorded(self, worker: int, end: Ended, job: Job) -> Recorded:
        if not job.caps.recording and job.recording is None:
            return NOTHING
        modules = [self._library[digest] for digest in job.call.modules()]
        functions = self._functions.open_to(modules, [name for name, _ in job.call.links])
        return self._calls.recorded(worker, end.ticket, job, functions)

    def _next_alone(self, worker: int) -> list[Sending]:
        """Give a worker for single jobs the next one, or let it go; nothing for any other worker."""
        if not self._pool.is_idle_solo(worker):
            return []
        fed = self._pool.feed_alone(worker, self._clock.wall())
        return [*fed, *self._onlookers.look()] if fed else [Sending(worker, None)]
