"""The settle loop: what became of jobs is recorded, told to those who wait, counted and logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

import anyio
import msgspec

from wasmq.bell import Bell
from wasmq.deadlines import LATE, time_left
from wasmq.errors import StoreUnavailable, WasmqError
from wasmq.job import Job, Outcome, Status
from wasmq.logs import get_logger
from wasmq.modules import Module
from wasmq.outcomes import outcome_of
from wasmq.printing import printable
from wasmq.recording import NOTHING, Recorded
from wasmq.reuse import Answered, answer
from wasmq.store import Finished
from wasmq_worker.protocol import Ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from anyio.abc import TaskGroup, TaskStatus

    from wasmq.backoff import Backoff
    from wasmq.clock import Clock
    from wasmq.config import PricesConfig
    from wasmq.deadlines import Deadlines
    from wasmq.estimate import Estimator
    from wasmq.events import Onlookers
    from wasmq.fairness import Fairness
    from wasmq.gate import Gate
    from wasmq.handles import JobHandle
    from wasmq.metrics import Metrics
    from wasmq.modules import Library
    from wasmq.reuse import Reuse
    from wasmq.store import Cancellation, Store


class Ran(msgspec.Struct, frozen=True, gc=False):
    """A worker says that a job ended; `assigned` is when it got the job, in seconds on the wall clock.

    `recorded` is what there is of its host calls.
    """

    job: Job
    assigned: float
    ended: Ended
    worker: str
    recorded: Recorded = NOTHING


class Died(msgspec.Struct, frozen=True, gc=False):
    """A job's worker died; `reason` says how. An `innocent` job had not begun while another one had."""

    job: Job
    reason: str
    innocent: bool = False


class Starved(msgspec.Struct, frozen=True, gc=False):
    """A job's worker had no memory left for what the job may have; `problem` is what the engine says."""

    job: Job
    problem: str


class HandedBack(msgspec.Struct, frozen=True, gc=False):
    """A worker never started a job; `unmappable` is what was wrong with its `module`, None when nothing was."""

    job: Job
    unmappable: str | None = None
    module: Module | None = None


class Postponed(msgspec.Struct, frozen=True, gc=False):
    """A claimed job goes back into the queue for a while: there is no memory for it, nor room to wait for some."""

    job: Job


class Late(msgspec.Struct, frozen=True, gc=False):
    """A claimed job's deadline passed before it was sent to a worker."""

    job: Job


class Beyond(msgspec.Struct, frozen=True, gc=False):
    """A job cannot run: its module cannot be mapped, and compiling it again did not help."""

    job: Job
    problem: str


class CancelWish(msgspec.Struct, frozen=True, gc=False):
    """Somebody stopped waiting for a job, which is to be cancelled."""

    id: str


class Doubtful(msgspec.Struct, frozen=True, gc=False):
    """Whoever submitted a job went away while the store was taking it: it is not wanted, if it was taken at all."""

    job: Job


News: TypeAlias = Answered | Ran | Died | Starved | HandedBack | Postponed | Late | Beyond | CancelWish | Doubtful
CANCELLED = "cancelled before it started"
_T = TypeVar("_T")
_MOST_RETURNS = 16  # uncharged, after which a death counts all the same: what a worker says of who began is its word
_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # seconds until a store that could not record something is asked again
_OUT_OF_THE_WAY = 1.0  # seconds until a job for which there was no memory may be claimed again
_LAST_TRIES, _LAST_SECONDS = 5, 5.0  # after either of which a scheduler that is stopping gives up


class Settler:
    """Takes news of jobs, in batches. `work` is rung when there may be room or work again."""

    def __init__(
        self,
        *,
        store: Store,
        fairness: Fairness,
        gate: Gate,
        metrics: Metrics,
        estimator: Estimator,
        deadlines: Deadlines,
        library: Library,
        clock: Clock,
        handles: dict[str, JobHandle],
        onlookers: Onlookers,
        max_attempts: int,
        backoff: Backoff,
        engine: Callable[[], tuple[str, str]],
        prices: PricesConfig,
        reuse: Reuse,
        resume: Callable[[Sequence[Job]], None],
        cancel: Callable[[Sequence[str], Sequence[Job]], Awaitable[list[Cancellation]]],
        work: Bell,
        tasks: TaskGroup,
    ) -> None:
        self.stopping = False
        self._store = store
        self._fairness = fairness
        self._gate = gate
        self._metrics = metrics
        self._estimator = estimator
        self._deadlines = deadlines
        self._library = library
        self._clock = clock
        self._handles = handles
        self._onlookers = onlookers
        self._max_attempts = max_attempts
        self._backoff = backoff
        self._engine = engine
        self._prices = prices
        self._reuse = reuse
        self._resume = resume
        self._cancel = cancel
        self._work = work
        self._tasks = tasks
        self._bell = Bell()
        self.idle = Bell()
        self._news: list[News] = []
        self._unwanted: set[str] = set()
        self._repaired: dict[str, int] = {}
        self._mending: dict[str, Job] = {}
        self._repairs = anyio.Lock()
        self._log = get_logger()
        self._done = anyio.Event()

    def add(self, news: Sequence[News]) -> None:
        """Take news, to be settled soon."""
        self._news += news
        self._bell.ring()

    def unwanted(self, ids: Iterable[str]) -> None:
        """Note that running jobs are being cancelled: should their worker die first, they do not run again."""
        self._unwanted.update(ids)

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs whose modules it still needs: news not yet settled, and jobs that wait for a repair."""
        for item in self._news:
            if isinstance(item, Answered | Ran | HandedBack):
                yield item.job
        yield from self._mending.values()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Settle until stopped, and then what there is."""
        task_status.started()
        try:
            while not self.stopping:
                await self._bell.wait()
                await self._settle_all()
        finally:
            self._done.set()

    async def stop(self) -> None:
        """Stop the loop: jobs whose worker is gone from now on go back to the queue uncharged."""
        self.stopping = True
        self._bell.ring()
        await self._done.wait()
        await self._settle_all()

    async def _settle_all(self) -> None:
        while self._news:
            news, self._news = self._news, []
            try:
                await self._settle(news)
            except StoreUnavailable as error:
                # Only a scheduler that stops gives up.
                self._log.error("store.not_told", news=len(news), error=str(error))

    async def finish_queued(self, job: Job, outcome: Outcome) -> None:
        """Tell of a job that the store has finished while it was queued."""
        self._gate.leave(job.tenant, 1)
        self._fairness.settled(job.tenant, job.cost, 0.0)
        self._tell(job, outcome.of(job))

    def finished_elsewhere(self, job: Job, outcome: Outcome) -> None:
        """Hand over the outcome of a job that another daemon has finished, and counted."""
        self._unwanted.discard(job.id)
        self._deadlines.ended(job)
        handle = self._handles.pop(job.id, None)
        if handle is not None:
            self._fairness.settled_elsewhere(job.tenant)
            self._learn(job, outcome)
            handle.settle(outcome.of(job))

    async def _settle(self, news: list[News]) -> None:
        ends: list[tuple[Job, Outcome]] = []
        again: list[Job] = []
        unharmed: list[Job] = []
        postponed: list[Job] = []
        wishes: list[str] = []
        doubtful: list[Job] = []
        for item in news:
            match item:
                case Answered():
                    ends.append((item.job, self._answer(item)))
                case Ran():
                    ends.append((item.job, self._outcome(item)))
                case Died() | Starved() | HandedBack() | Postponed() if item.job.id in self._unwanted:
                    ends.append((item.job, self._without_run(item.job, "cancelled", CANCELLED)))
                case Died(innocent=True) if item.job.returned < _MOST_RETURNS:
                    unharmed.append(item.job)
                case Died() | Starved():
                    if self._attempts(item.job) < self._max_attempts and not self.stopping:
                        again.append(item.job)
                    elif self.stopping:
                        unharmed.append(item.job)
                    else:
                        ends.append((item.job, self._without_run(item.job, "lost", self._epitaph(item))))
                case HandedBack() if item.unmappable is not None and not self.stopping:
                    # Compiling takes its time, in which others want their outcomes.
                    self._mending[item.job.id] = item.job
                    self._tasks.start_soon(self._repair, item, item.unmappable)
                case HandedBack():
                    unharmed.append(item.job)
                case Postponed():
                    postponed.append(item.job)
                case Late():
                    ends.append((item.job, self._unstarted(item.job)))
                case Beyond():
                    ends.append((item.job, self._without_run(item.job, "lost", item.problem)))
                case CancelWish():
                    wishes.append(item.id)
                case Doubtful():
                    doubtful.append(item.job)
        if again:
            await self._retry(again)
        if unharmed:
            await self._hand_back(unharmed)
        if postponed:
            await self._put_off(postponed)
        for job in (*again, *unharmed, *postponed):
            self._free(job, None)
            if job.id in self._unwanted:
                # Cancelled while the store was queueing it again, for which it still ran.
                wishes.append(job.id)
        if ends:
            await self._record(ends)
        if wishes:
            await self._insist(lambda: self._cancel(wishes, ()))
        if doubtful:
            await self._clear_up(doubtful)
        self._work.ring()
        self.idle.ring()

    async def _record(self, ends: list[tuple[Job, Outcome]]) -> None:
        started = self._clock.monotonic()
        finished = [
            Finished(job.id, job.attempt, outcome, self._fairness.shift(job.tenant, job.cost, outcome.fuel_used))
            for job, outcome in ends
        ]
        recorded = await self._insist(lambda: self._store.finish(finished))
        self._metrics.committed(self._clock.monotonic() - started, len(ends))
        for (job, outcome), is_recorded in zip(ends, recorded, strict=True):
            self._free(job, outcome)
            if not is_recorded:
                self._unwanted.discard(job.id)
                self._log.warning("job.late", job=job.id, attempt=job.attempt, status=outcome.status)
                continue
            # Who was answered by another's run has had no share of the machine, whatever is charged.
            self._fairness.settled(job.tenant, job.cost, 0.0 if outcome.reused else outcome.fuel_used)
            self._learn(job, outcome)
            self._tell(job, outcome)

    def _free(self, job: Job, outcome: Outcome | None) -> None:
        """Let those go on who wait for a job's run, which has ended: without an outcome, it goes back to the queue."""
        if job.reuse == "never":
            return
        freed = self._reuse.ended(job, outcome, self._clock.monotonic())
        if freed.answered:
            self.add(freed.answered)
        if freed.run:
            self._resume(freed.run)

    def _learn(self, job: Job, outcome: Outcome) -> None:
        if outcome.reused:
            return
        self._estimator.learn(job, outcome)
        if outcome.status in ("succeeded", "trapped"):
            self._fairness.learn(job.tenant, job.call.module, job.call.export, outcome.fuel_used)

    def _tell(self, job: Job, outcome: Outcome) -> None:
        self._unwanted.discard(job.id)
        self._deadlines.ended(job)
        handle = self._handles.pop(job.id, None)
        if handle is not None:
            handle.settle(outcome)
        self._onlookers.finished(job, outcome)
        self._metrics.finished(job.tenant, outcome)
        if self._log.enabled("info"):
            self._log.info(
                "job.finished",
                job=job.id,
                tenant=job.tenant,
                module=job.call.module[:12],
                export=job.call.export,
                status=outcome.status,
                fuel=outcome.fuel_used,
                reused=outcome.reused,
                memory=outcome.memory_peak,
                queued=round(outcome.queued, 6),
                ran=round(outcome.ran, 6),
                attempts=outcome.attempts,
                worker=outcome.worker,
                exit_code=outcome.exit_code,
                error=outcome.error,
            )

    async def _retry(self, jobs: list[Job]) -> None:
        """Queue jobs again whose worker died, some time later: what killed it may have a moment to pass."""
        for pause, group in self._backoff.spread(jobs).items():
            for job in group:
                self._gate.readmit(job.tenant, 1)
                self._log.warning("job.again", job=job.id, attempt=job.attempt, after=round(pause, 3))
            await self._release(group, charged=True, due=self._clock.wall() + pause)

    async def _hand_back(self, jobs: list[Job]) -> None:
        """Queue jobs again that no worker has started."""
        for job in jobs:
            self._gate.readmit(job.tenant, 1)
            self._log.warning("job.returned", job=job.id, attempt=job.attempt)
        await self._release(jobs, charged=False, due=self._clock.wall())

    async def _put_off(self, jobs: list[Job]) -> None:
        """Queue jobs again for which there was no memory: others are claimed before them for a while."""
        for job in jobs:
            self._gate.readmit(job.tenant, 1)
            self._log.debug("job.postponed", job=job.id, attempt=job.attempt)
        await self._release(jobs, charged=False, due=self._clock.wall() + _OUT_OF_THE_WAY)

    async def _release(self, jobs: list[Job], *, charged: bool, due: float) -> None:
        if jobs:
            self._onlookers.queued(jobs)
            await self._insist(lambda: self._store.release(jobs, charged=charged, due=due))

    async def _clear_up(self, jobs: list[Job]) -> None:
        found = await self._insist(lambda: self._cancel([job.id for job in jobs], jobs))
        for job, what in zip(jobs, found, strict=True):
            if what == "unknown":
                self._handles.pop(job.id, None)
                self._gate.leave(job.tenant, 1)
                self._fairness.settled(job.tenant, job.cost, 0.0)

    async def _insist(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Have the store record something, again and again while it cannot: what is in hand is not thrown away.

        Raises `StoreUnavailable` when a scheduler that is stopping has tried often enough: on a durable store those
        jobs count as running still, and run again at the next start.
        """
        pause = _PAUSE
        tries = 0
        started = self._clock.monotonic()
        while True:
            try:
                return await work()
            except StoreUnavailable as error:
                tries += 1
                self._log.warning("store.unavailable", error=str(error), tries=tries)
                long = self._clock.monotonic() - started > _LAST_SECONDS
                if self.stopping and (tries >= _LAST_TRIES or long):
                    raise
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _repair(self, back: HandedBack, reason: str) -> None:
        """Compile a module again that a worker could not map, and let the job go on, or end it."""
        async with self._repairs:
            problem = None
            # Otherwise another job that came back with it has had it compiled again.
            if back.module is not None and self._library.knows(back.module):
                problem = await self._compile_again(back.module, reason)
        del self._mending[back.job.id]
        self.add([HandedBack(back.job) if problem is None else Beyond(back.job, problem)])

    async def _compile_again(self, module: Module, reason: str) -> str | None:
        """Return why a module cannot be compiled again, or None when it has been."""
        digest = module.digest
        if self._repaired.get(digest, 0) >= self._max_attempts:
            return f"lost: its module cannot be mapped: {reason}"
        self._repaired[digest] = self._repaired.get(digest, 0) + 1
        self._log.warning("module.unmappable", module=digest[:12], reason=reason)
        try:
            await self._library.repair(module)
        except (WasmqError, OSError) as error:
            return f"lost: its module cannot be mapped: {error}"
        return None

    def _attempts(self, job: Job) -> int:
        return job.attempt - job.returned

    def _outcome(self, ran: Ran) -> Outcome:
        job = ran.job
        engine, version = self._engine()
        outcome = outcome_of(job, ran.ended, self._library[job.call.module].function(job.call.export))
        return msgspec.structs.replace(
            outcome,
            error=_timeout_line(job, ran.assigned, outcome) if outcome.status == "timed_out" else outcome.error,
            queued=max(0.0, ran.assigned - max(job.submitted_at, job.due)),
            attempts=self._attempts(job),
            worker=ran.worker,
            engine=engine,
            engine_version=version,
            prices=(self._prices.call, self._prices.byte),
            recording=ran.recorded.packed,
            unrecorded=ran.recorded.why_not,
            basis=job,
        )

    def _answer(self, answered: Answered) -> Outcome:
        job = answered.job
        waited = max(0.0, self._clock.wall() - max(job.submitted_at, job.due))
        return answer(answered, charged=self._prices.reuse == "full", queued=waited, attempts=self._attempts(job))

    def _unstarted(self, job: Job) -> Outcome:
        """Return the outcome of a job that was claimed too late: the start does not count."""
        outcome = self._without_run(job, "timed_out", LATE)
        return msgspec.structs.replace(outcome, attempts=outcome.attempts - 1)

    def _without_run(self, job: Job, status: Status, error: str) -> Outcome:
        engine, version = self._engine()
        return Outcome(
            status=status,
            error=error,
            attempts=self._attempts(job),
            engine=engine,
            engine_version=version,
            prices=(self._prices.call, self._prices.byte),
            basis=job,
        )

    def _epitaph(self, died: Died | Starved) -> str:
        attempts = self._attempts(died.job)
        if isinstance(died, Starved):
            return (
                f"lost: its worker had no memory for it at the last of {attempts} attempts: {printable(died.problem)}"
            )
        return f"lost: its worker died in each of {attempts} attempt{'s' * (attempts != 1)}; last: {died.reason}"


def _timeout_line(job: Job, assigned: float, outcome: Outcome) -> str | None:
    """Return what is said of a job that had no more time: whether that was for its deadline."""
    if time_left(job, assigned) >= job.caps.timeout:
        return outcome.error
    if not outcome.fuel_used:
        return LATE
    return f"timed out: its deadline passed when it had run for {outcome.ran:.3g} s"
