"""From a request to an accepted job: checked, let in, tagged, put into the store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import msgspec

from wasmq import admission
from wasmq.errors import Refused
from wasmq.handles import JobHandle
from wasmq.job import Access, Call, Job, Limits
from wasmq.programs import check_program

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from wasmq.bell import Bell
    from wasmq.clock import Clock
    from wasmq.config import LimitsConfig, Tenant
    from wasmq.events import JobEvent
    from wasmq.fairness import Fairness
    from wasmq.gate import Gate
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
    """One call to be submitted: what `Scheduler.submit` takes, as a value. `delay` is in seconds.

    Without an `export` it is the run of a WASI command; `program` is what a WASI guest is to see.
    """

    module: str
    export: str | None = None
    args: Sequence[Any] = ()
    program: ProgramOptions | None = None
    limits: Limits | None = None
    tenant: str = "default"
    priority: int = 0
    key: str | None = None
    delay: float = 0.0


class Accepted(NamedTuple):
    """A job as the store has it, and its handle; `is_new` unless an earlier one with the same key was found."""

    job: Job
    handle: JobHandle
    is_new: bool


class Submission:
    """Takes requests in. `handles` are those of all unfinished jobs; `work` is rung when there is something to do."""

    def __init__(
        self,
        *,
        limits: LimitsConfig,
        library: Library,
        store: Store,
        fairness: Fairness,
        gate: Gate,
        metrics: Metrics,
        clock: Clock,
        tenant: Callable[[str], Tenant],
        handles: dict[str, JobHandle],
        cancel: Callable[[str], Awaitable[bool]],
        events: Callable[[str], AsyncGenerator[JobEvent]],
        work: Bell,
    ) -> None:
        self._limits = limits
        self._library = library
        self._store = store
        self._fairness = fairness
        self._gate = gate
        self._metrics = metrics
        self._clock = clock
        self._tenant = tenant
        self._handles = handles
        self._cancel = cancel
        self._events = events
        self._work = work

    async def submit(self, requests: Sequence[Request], *, wait: bool) -> list[JobHandle]:
        """Accept all requests or none, and return handles in the same order. Raises a `Refused`."""
        return [accepted.handle for accepted in await self.accept(requests, wait=wait)]

    async def accept(self, requests: Sequence[Request], *, wait: bool) -> list[Accepted]:
        """Do the same, and return the jobs too."""
        entered: dict[str, int] = {}
        try:
            jobs = [self._prepare(request) for request in requests]
            for job in jobs:
                entered[job.tenant] = entered.get(job.tenant, 0) + 1
            await self._gate.enter(entered, wait=wait)
            return await self._accept(jobs)
        except Refused as error:
            self._metrics.rejected(error.reason)
            raise

    async def handle(self, job_id: str) -> JobHandle | None:
        """Return the handle of a job that the store knows, or None."""
        handle = self._handles.get(job_id)
        if handle is not None:
            return handle
        record = await self._store.get(job_id)
        if record is None:
            return None
        handle = JobHandle(job_id, self._cancel, self._events)
        if record.outcome is not None:
            handle.settle(record.outcome)
            return handle
        return self._handles.setdefault(job_id, handle)

    def _prepare(self, request: Request) -> Job:
        """Check everything that can be refused without a look at the queue."""
        module = self._library[request.module]
        tenant = admission.check_name("tenant", request.tenant)
        export = admission.check_export(module, request.export)
        args = admission.check_call(module, export, request.args)
        caps = admission.check_limits(request.limits, self._limits)
        program = check_program(request.program, caps.files, self._limits.max.input) if request.program else None
        priority = admission.check_priority(request.priority)
        delay = admission.check_delay(request.delay)
        key = None if request.key is None else admission.check_name("key", request.key, limit=255)
        now = self._clock.wall()
        return Job(
            # Sorts by time; the rest cannot be guessed.
            id=f"{int(now * 1000):012x}{os.urandom(10).hex()}",
            call=Call(module.digest, export, args, program),
            caps=caps,
            tenant=tenant,
            priority=priority,
            key=key,
            submitted_at=now,
            due=now + delay,
            order=0.0,
            cost=min(self._fairness.expect(module.digest, export), float(caps.fuel)),
        )

    async def _accept(self, jobs: Sequence[Job]) -> list[Accepted]:
        tagged = []
        handles = []
        for job in jobs:
            order = self._fairness.tag(job.tenant, self._tenant(job.tenant).weight, job.cost)
            tagged.append(msgspec.structs.replace(job, order=order))
            # Known before it is queued: its outcome may come before `put` returns.
            handle = self._handles[job.id] = JobHandle(job.id, self._cancel, self._events)
            handles.append(handle)
        try:
            stored = await self._store.put(tagged)
        except BaseException:
            for job in tagged:
                self._withdraw(job)
            raise
        for place, (job, kept) in enumerate(zip(tagged, stored, strict=True)):
            if kept.id == job.id:
                self._metrics.submitted(job.tenant)
                continue
            self._withdraw(job)
            earlier = await self.handle(kept.id)
            if earlier is not None:
                handles[place] = earlier
        self._work.ring()
        return [
            Accepted(kept, handle, kept.id == job.id) for job, kept, handle in zip(tagged, stored, handles, strict=True)
        ]

    def _withdraw(self, job: Job) -> None:
        """Take back what `_accept` booked for a job that was not queued after all."""
        self._handles.pop(job.id, None)
        self._gate.leave(job.tenant, 1)
        self._fairness.settled(job.tenant, job.cost, 0.0)
