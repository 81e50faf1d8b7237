"""From a request to an accepted job: checked, let in, tagged, put into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import msgspec

from wasmq import admission
from wasmq.errors import DeadlineUnmeetable, NotDeterministic, Refused, StoreUnavailable, UnknownJob, UnknownModule
from wasmq.handles import JobHandle
from wasmq.ids import Ids
from wasmq.job import Access, Call, Job, Limits, OnExhausted, Reuse, limits_again
from wasmq.logs import get_logger
from wasmq.modules import Module
from wasmq.pool.memory import need_of
from wasmq.programs import check_program
from wasmq.recording import RecordedHost, recorded_functions
from wasmq.supply import check_links, varies

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable

    from wasmq.bell import Bell
    from wasmq.budgets import Budgets
    from wasmq.clock import Clock
    from wasmq.config import LimitsConfig, Tenant
    from wasmq.estimate import Estimator
    from wasmq.events import JobEvent
    from wasmq.fairness import Fairness
    from wasmq.gate import Gate
    from wasmq.host import HostFunctions
    from wasmq.metrics import Metrics
    from wasmq.modules import Library
    from wasmq.store import Store


class ProgramOptions(TypedDict, total=False):
    """What may be said of the world that a WASI guest sees: the fields of `wasmq.job.Program`, less strictly typed."""

    argv: Sequence[str]
    env: Mapping[str, str]
    stdin: bytes
    files: Mapping[str, bytes]
    collect: Sequence[str]
    dirs: Mapping[str, Access] | Sequence[str]
    name: str
    deterministic: bool


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call to be submitted: what `Scheduler.submit` takes, as a value. `delay` and `deadline` are in seconds.

    Without an `export` it is the run of a WASI command; `program` is what a WASI guest is to see. `link` has the
    modules that satisfy imports, or their digests, by the name that is imported from. `grant` names host functions that
    this job may import, beside those granted to its tenant. `on_exhausted` says what becomes of it when its fuel is
    spent. With `packed` the arguments are as `wasmq.job.Call` has them, checked when an earlier job was accepted.
    `reuse` and `record` are the tenant's own when they are None. `recording` is a packed `wasmq.recording.Recording`:
    host calls are answered from it, and not made.
    """

    module: str
    export: str | None = None
    args: Sequence[Any] = ()
    program: ProgramOptions | None = None
    link: Mapping[str, Module | str] | None = None
    limits: Limits | None = None
    tenant: str = "default"
    priority: int = 0
    key: str | None = None
    delay: float = 0.0
    deadline: float | None = None
    grant: Sequence[str] = ()
    on_exhausted: OnExhausted = "stop"
    packed: bool = False
    reuse: Reuse | None = None
    record: bool | None = None
    recording: bytes | None = None

    def digests(self) -> set[str]:
        """Return the digests of the modules that it names; what else stands in `link` is for admission to refuse."""
        if not self.link:
            return {self.module}
        linked = self.link.values() if isinstance(self.link, Mapping) else ()
        digests = [value.digest if isinstance(value, Module) else value for value in linked]
        return {self.module, *[digest for digest in digests if isinstance(digest, str)]}


class Accepted(NamedTuple):
    """A job as the store has it, and its handle; `is_new` unless an earlier one with the same key was found."""

    job: Job
    handle: JobHandle
    is_new: bool


class Submission:
    """Takes requests in, within `limits`; `share` is the bytes of memory that one worker has.

    `max_bytes` is what a host call may carry. `refuses_late` is whether jobs are refused that would miss their
    deadlines. It may be replaced, as `limits` may. `watch` is told of the jobs that were accepted.

    `handles` are those of all unfinished jobs; `work` is rung when there is something to do.
    `doubtful` is told of jobs whose caller is gone while the store takes them: it finds out, and has them cancelled.
    """

    def __init__(
        self,
        *,
        limits: LimitsConfig,
        share: int,
        max_bytes: int,
        refuses_late: bool,
        estimator: Estimator,
        watch: Callable[[Sequence[Job]], None],
        library: Library,
        functions: HostFunctions,
        store: Store,
        fairness: Fairness,
        gate: Gate,
        metrics: Metrics,
        clock: Clock,
        budgets: Budgets,
        tenant: Callable[[str], Tenant],
        handles: dict[str, JobHandle],
        cancel: Callable[[str], Awaitable[bool]],
        events: Callable[[str], AsyncGenerator[JobEvent]],
        refuel: Callable[[str, int], Awaitable[int]],
        work: Bell,
        doubtful: Callable[[Sequence[Job]], None],
    ) -> None:
        self.limits = limits
        self.refuses_late = refuses_late
        self._share = share
        self._max_bytes = max_bytes
        self._estimator = estimator
        self._watch = watch
        self._ids = Ids()
        self._library = library
        self._functions = functions
        self._store = store
        self._fairness = fairness
        self._gate = gate
        self._metrics = metrics
        self._clock = clock
        self._budgets = budgets
        self._tenant = tenant
        self._handles = handles
        self._cancel = cancel
        self._events = events
        self._refuel = refuel
        self._work = work
        self._doubtful = doubtful
        self._log = get_logger()

    async def submit(self, requests: Sequence[Request], *, wait: bool) -> list[JobHandle]:
        """Accept all requests or none, and return handles in the same order. Raises a `Refused`."""
        return [accepted.handle for accepted in await self.accept(requests, wait=wait)]

    async def accept(self, requests: Sequence[Request], *, wait: bool) -> list[Accepted]:
        """Do the same, and return the jobs too."""
        entered: dict[str, int] = {}
        try:
            jobs = await self._prepare_all(requests)
            await self._budgets.check(jobs)
            at_risk = self._at_risk(jobs)
            for job in jobs:
                entered[job.tenant] = entered.get(job.tenant, 0) + 1
            await self._gate.enter(entered, wait=wait)
            return await self._accept(jobs, at_risk)
        except Refused as error:
            self._metrics.rejected(error.reason)
            raise

    async def _prepare_all(self, requests: Sequence[Request]) -> list[Job]:
        """Check everything that can be refused without a look at the queue, with all modules there."""
        if all(not request.link and request.module in self._library for request in requests):
            # Nothing has to be waited for, so nothing can be put out meanwhile.
            jobs = [self._prepare(request) for request in requests]
            self._library.tidy()
            return jobs
        digests = {digest for request in requests for digest in request.digests()}
        with self._library.holding(digests):
            await self._recall(digests)
            jobs = [self._prepare(request) for request in requests]
            await self._count(jobs)
        return jobs

    async def repeat(self, job: Job, recording: bytes | None = None) -> JobHandle:
        """Accept the call of a job again, exactly as it was, as a new job that is run whatever others were told.

        Its host calls are answered from the packed `recording`, where there is one. Raises a `Refused`: also when its
        limits are above what is allowed now, or `NotDeterministic` when its host functions are not offered as recorded.
        """
        digests = job.call.modules()
        try:
            with self._library.holding(digests):
                await self._recall(digests)
                module = self._library[job.call.module]
                # Nobody refuels a repetition: it may spend from the start what the job could in the end.
                caps = msgspec.structs.replace(job.caps, fuel=job.fuel, suspend=0.0)
                admission.check_limits(limits_again(caps), self.limits, record=caps.recording > 0)
                if recording is not None:
                    self._check_offers(job, recording)
                await self._count([job])
                await self._gate.enter({job.tenant: 1}, wait=False)
                now = self._clock.wall()
                new = msgspec.structs.replace(
                    job,
                    id=self._ids.make(now),
                    caps=caps,
                    refuelled=0,
                    deadline=None,
                    key=None,
                    submitted_at=now,
                    due=now,
                    cost=min(self._fairness.expect(job.tenant, module.digest, job.call.export), float(caps.fuel)),
                    attempt=0,
                    returned=0,
                    reuse="never",
                    recording=recording,
                )
                return (await self._accept([new], set()))[0].handle
        except Refused as error:
            self._metrics.rejected(error.reason)
            raise

    def _check_offers(self, job: Job, recording: bytes) -> None:
        """Raise `NotDeterministic` unless what a job could call is offered now as it was when it was recorded."""
        modules = [self._library[digest] for digest in job.call.modules()]
        offers = recorded_functions(self._functions.open_to(modules, [name for name, _ in job.call.links]))
        problem = RecordedHost.unpack(recording).changed(offers, self._max_bytes)
        if problem is not None:
            raise NotDeterministic(
                f"job {job.id} cannot be replayed by this daemon: {problem}; run it beside the daemon, as it was, with "
                "wasmq replay JOB --engine ENGINE"
            )

    async def check(self, request: Request) -> None:
        """Raise the `Refused` that submitting a request would raise now, a full queue apart."""
        await self._recall(request.digests())
        self._prepare(request)

    async def handle(self, job_id: str) -> JobHandle | None:
        """Return the handle of a job that the store knows, or None."""
        handle = self._handles.get(job_id)
        if handle is not None:
            return handle
        # Known before the store is asked: the outcome may come meanwhile.
        handle = self._handles[job_id] = JobHandle(job_id, self._cancel, self._events, self._refuel)
        try:
            record = await self._store.get(job_id)
        except BaseException:
            self._forget(handle, StoreUnavailable(f"job {job_id} could not be looked up"))
            raise
        if record is None:
            self._forget(handle, UnknownJob(f"no job {job_id!r}: it never was, or its history has been pruned"))
            return None
        if record.outcome is not None and handle.outcome is None:
            self._handles.pop(job_id, None)
            handle.settle(record.outcome.of(record.job))
        return handle

    def _forget(self, handle: JobHandle, error: Exception) -> None:
        if handle.outcome is None:
            self._handles.pop(handle.id, None)
            handle.abandon(error)

    def _prepare(self, request: Request) -> Job:
        """Return the job that a request asks for. Raises a `Refused`."""
        module = self._library[request.module]
        tenant = admission.check_name("tenant", request.tenant)
        export = admission.check_export(module, request.export)
        links = check_links(request.link, self._library.__getitem__)
        grant = tuple(sorted(set(admission.check_grant(request.grant))))
        if links or module.missing:
            granted = {*self._tenant(tenant).grant, *grant}
            admission.check_imports(module, links, self._functions, tenant, granted)
        args = tuple(request.args) if request.packed else admission.check_call(module, export, request.args)
        record = self._tenant(tenant).record if request.record is None else admission.check_record(request.record)
        caps = admission.check_limits(request.limits, self.limits, request.on_exhausted, record=record)
        program = check_program(request.program, caps.files, self.limits.max.input) if request.program else None
        priority = admission.check_priority(request.priority)
        delay = admission.check_delay(request.delay)
        deadline = admission.check_deadline(request.deadline, delay)
        key = None if request.key is None else admission.check_name("key", request.key, limit=255)
        now = self._clock.wall()
        job = Job(
            id=self._ids.make(now),
            call=Call(
                module.digest, export, args, program, tuple([(name, each.digest) for name, each in links]), grant
            ),
            caps=caps,
            tenant=tenant,
            priority=priority,
            key=key,
            submitted_at=now,
            due=now + delay,
            order=0.0,
            cost=min(self._fairness.expect(tenant, module.digest, export), float(caps.fuel)),
            varies=varies(module, links, program),
            reuse=self._tenant(tenant).reuse if request.reuse is None else admission.check_reuse(request.reuse),
            deadline=None if deadline is None else now + deadline,
            recording=request.recording,
        )
        admission.check_memory(need_of(job, [module, *[linked for _, linked in links]]), self._share)
        return job

    def _at_risk(self, jobs: Sequence[Job]) -> set[str]:
        """Return the jobs that will miss their deadlines, by the estimate. Raises `DeadlineUnmeetable` if told to."""
        at_risk: set[str] = set()
        before: dict[str, float] = {}
        for job in jobs:
            if job.deadline is None:
                continue
            start, run = self._estimator.done_in(job, before.get(job.tenant, 0.0))
            before[job.tenant] = before.get(job.tenant, 0.0) + job.cost
            within = round(job.deadline - job.submitted_at, 6)  # seconds since 1970 have no more digits to give
            if start + run <= within:
                continue
            if self.refuses_late:
                raise DeadlineUnmeetable(
                    f"deadline: {within:.3g} s is too soon: the job is expected to start in {start:.3g} s and to run "
                    f"for {run:.3g} s"
                )
            at_risk.add(job.id)
            self._log.warning("job.at_risk", job=job.id, tenant=job.tenant, within=within, start=start, run=run)
        return at_risk

    async def _count(self, jobs: Sequence[Job]) -> None:
        """Have the modules of linked jobs compiled for the engine that can run them together."""
        for digest in {digest for job in jobs if job.call.links for digest in job.call.modules()}:
            await self._library.count(digest)

    async def _recall(self, digests: Iterable[str]) -> None:
        """Load modules that were loaded in an earlier life of the store; those that are gone are refused later."""
        if not self._store.durable:
            return
        for digest in digests:
            if digest not in self._library:
                with suppress(UnknownModule):
                    await self._library.recall(digest)

    async def _accept(self, jobs: Sequence[Job], at_risk: Collection[str]) -> list[Accepted]:
        tagged = []
        handles = []
        for job in jobs:
            order = self._fairness.tag(job.tenant, self._tenant(job.tenant).weight, job.cost)
            tagged.append(msgspec.structs.replace(job, order=order))
            # Known before it is queued: its outcome may come before `put` returns.
            handle = self._handles[job.id] = JobHandle(job.id, self._cancel, self._events, self._refuel)
            handle.at_risk = job.id in at_risk
            handles.append(handle)
        try:
            stored = await self._store.put(tagged)
        except asyncio.CancelledError:
            # They are accepted or not, and nobody has a handle of them any more.
            self._doubtful(tagged)
            raise
        except BaseException:
            for job in tagged:
                self._withdraw(job)
            raise
        for place, (job, kept) in enumerate(zip(tagged, stored, strict=True)):
            if kept.id == job.id:
                self._metrics.submitted(job.tenant)
                if job.deadline is not None:
                    self._watch([kept])
                continue
            self._withdraw(job)
            earlier = await self.handle(kept.id)
            if earlier is not None:
                handles[place] = earlier
            else:
                handles[place].abandon(UnknownJob(f"job {kept.id} has just left the history; use its key again"))
        self._work.ring()
        return [
            Accepted(kept, handle, kept.id == job.id) for job, kept, handle in zip(tagged, stored, handles, strict=True)
        ]

    def _withdraw(self, job: Job) -> None:
        """Take back what `_accept` booked for a job that was not queued after all."""
        self._handles.pop(job.id, None)
        self._gate.leave(job.tenant, 1)
        self._fairness.settled(job.tenant, job.cost, 0.0)
