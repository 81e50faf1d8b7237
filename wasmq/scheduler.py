"""`Scheduler`: start → submit → dispatch → settle → stop."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from wasmq_worker.protocol import Outcomes, ProtocolError, Pulse, Underway, Unmappable

from wasmq import admission
from wasmq.clock import SystemClock
from wasmq.config import Config, Tenant, load_config, override
from wasmq.dispatch import Dispatcher
from wasmq.engines import engine_label
from wasmq.errors import Refused, SchedulerClosed, UnknownJob, error_for
from wasmq.fairness import Fairness
from wasmq.gate import Gate
from wasmq.handles import JobHandle
from wasmq.job import Call, Job, Limits, Outcome
from wasmq.lag import LagMeter
from wasmq.logs import get_logger
from wasmq.metrics import Metrics
from wasmq.modules import Library, Module
from wasmq.pool.crew import Crew
from wasmq.pool.pool import Pool
from wasmq.settle import CANCELLED, CancelWish, Died, HandedBack, Ran, Settler
from wasmq.store import JobRecord, Store, open_store
from wasmq.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from types import TracebackType

    from anyio.abc import TaskGroup
    from wasmq_worker.protocol import Upward

    from wasmq.clock import Clock
    from wasmq.config import EngineName
    from wasmq.job import State, Status

_MAP_BATCH = 256  # calls that `map` submits together
_MAP_AHEAD = 2_048  # calls that `map` keeps submitted beyond the one whose outcome it waits for
_MAX_TENANTS = 100_000


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call to be submitted: what `Scheduler.submit` takes, as a value. `delay` is in seconds."""

    module: str
    export: str
    args: Sequence[Any] = ()
    limits: Limits | None = None
    tenant: str = "default"
    priority: int = 0
    key: str | None = None
    delay: float = 0.0


class Scheduler:
    """Queues calls of WebAssembly exports and runs them on a pool of sandboxed worker processes.

    Use it as an asynchronous context manager: inside it is running, at its end it stops gracefully. The keyword
    arguments are keys of the configuration and override it; `config` is a `Config`, or the path of a TOML file.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        store: str | None = None,
        engine: EngineName | None = None,
        quantum: int | None = None,
        instances: int | None = None,
        max_queued: int | None = None,
        max_attempts: int | None = None,
        grace: float | None = None,
        tenants: Mapping[str, Tenant] | None = None,
        config: Config | str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        given = {
            "workers": workers,
            "store": store,
            "engine": engine,
            "quantum": quantum,
            "instances": instances,
            "max_queued": max_queued,
            "max_attempts": max_attempts,
            "grace": grace,
        }
        self.config = _configured(config, given)
        settings = self.config.scheduler
        self._workers = settings.workers or len(os.sched_getaffinity(0))
        self._tenants = {**self.config.tenants, **(tenants or {})}
        self._clock = clock or SystemClock()
        self._store: Store = open_store(settings.store, self.config.store, self._clock)
        self._fairness = Fairness(unknown_cost=settings.quantum)
        self._gate = Gate(settings.max_queued, lambda tenant: self._tenant(tenant).max_queued)
        self._handles: dict[str, JobHandle] = {}
        self._log = get_logger()
        self._tasks: TaskGroup | None = None
        self._stopped = False
        self.metrics = Metrics(
            max_tenants=self.config.metrics.max_tenants,
            engine=settings.engine,
            engine_version=engine_label(),
            version=__version__,
        )
        self.metrics.watch(_Gauges(self))

    # Start.

    async def __aenter__(self) -> Scheduler:
        if self._tasks is not None or self._stopped:
            raise SchedulerClosed("a scheduler runs once; make a new one")
        group = anyio.create_task_group()
        self._tasks = await group.__aenter__()
        try:
            await self._start(group)
        except BaseException as error:
            group.cancel_scope.cancel()
            self._stopped = True
            self._tasks = None
            await group.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def _start(self, tasks: TaskGroup) -> None:
        settings = self.config.scheduler
        await self._store.open()
        self._library = Library(self.config.modules, settings.engine, self.metrics, tasks)
        self._pool = Pool(
            instances=settings.instances,
            is_last=lambda job: settings.max_attempts > 1 and job.attempt - job.returned >= settings.max_attempts,
            weight=lambda tenant: self._tenant(tenant).weight,
            modules=self._library.__getitem__,
        )
        self._crew = Crew(settings, self._workers, self._clock, self, tasks)
        self._dispatcher = Dispatcher(self._store, self._pool, self._crew, self._fairness, self._gate, self._clock)
        self._settler = Settler(
            self._store,
            self._fairness,
            self._gate,
            self.metrics,
            self._library,
            self._clock,
            self._handles,
            settings.max_attempts,
            lambda: (settings.engine, self._crew.engine_version),
            self._cancel_many,
            self._dispatcher.bell.ring,
        )
        await self._crew.start()
        for loop in (self._settler, self._dispatcher, LagMeter(self.metrics, self._clock)):
            tasks.start_soon(loop.run)

    # Load and submit.

    async def load(self, source: str | os.PathLike[str] | bytes) -> Module:
        """Return the module in a file, in bytes, or in WebAssembly text, validated and compiled.

        Raises `InvalidModule` saying what is wrong and where, or `OSError` when the file cannot be read.
        """
        self._check_running()
        try:
            return await self._library.load(source)
        except Refused as error:
            self.metrics.rejected(error.reason)
            raise

    def modules(self) -> list[Module]:
        """Return the loaded modules, oldest first."""
        return self._library.all()

    def module(self, digest: str) -> Module:
        """Return a loaded module. Raises `UnknownModule`."""
        return self._library[digest]

    async def submit(
        self,
        module: Module | str,
        export: str,
        *args: Any,
        limits: Limits | None = None,
        tenant: str = "default",
        priority: int = 0,
        key: str | None = None,
        delay: float = 0.0,
        wait: bool = True,
    ) -> JobHandle:
        """Queue one call; it is accepted once this returns.

        `delay` is in seconds; a higher `priority` goes first; a `key` used before by the same tenant gives the earlier
        job. A full queue is waited for, or refused with `QueueFull` when `wait` is false. Raises a `Refused`.
        """
        digest = module if isinstance(module, str) else module.digest
        handles = await self.submit_many(
            (
                Request(
                    module=digest,
                    export=export,
                    args=args,
                    limits=limits,
                    tenant=tenant,
                    priority=priority,
                    key=key,
                    delay=delay,
                ),
            ),
            wait=wait,
        )
        return handles[0]

    async def submit_many(self, requests: Sequence[Request], *, wait: bool = True) -> list[JobHandle]:
        """Queue several calls, all of them or none; returns their handles in the same order. Raises a `Refused`."""
        self._check_running()
        entered: dict[str, int] = {}
        try:
            prepared = [self._prepare(request) for request in requests]
            for job in prepared:
                entered[job.tenant] = entered.get(job.tenant, 0) + 1
            await self._enter(entered, wait=wait)
        except Refused as error:
            self.metrics.rejected(error.reason)
            raise
        return await self._accept(prepared)

    async def run(self, module: Module | str, export: str, *args: Any, **options: Any) -> Outcome:
        """Submit one call and return its outcome; takes what `submit` takes.

        Raises the `JobError` that belongs to its status unless it succeeded. When the waiting task is cancelled, so
        is the job.
        """
        handle = await self.submit(module, export, *args, **options)
        try:
            outcome = await handle
        finally:
            if handle.outcome is None:
                self._settler.add([CancelWish(handle.id)])
        if outcome.status != "succeeded":
            raise error_for(outcome)
        return outcome

    async def map(
        self,
        module: Module | str,
        export: str,
        calls: Iterable[Sequence[Any]],
        *,
        limits: Limits | None = None,
        tenant: str = "default",
        priority: int = 0,
    ) -> AsyncIterator[Outcome]:
        """Run an export once for each tuple of arguments, and yield the outcomes in their order.

        Never raises for what a guest did. When the iteration is given up, the calls that have not finished are
        cancelled.
        """
        digest = module if isinstance(module, str) else module.digest
        waiting: deque[JobHandle] = deque()
        batch: list[Request] = []
        try:
            for args in calls:
                batch.append(
                    Request(module=digest, export=export, args=args, limits=limits, tenant=tenant, priority=priority)
                )
                if len(batch) >= min(_MAP_BATCH, self._gate.limit):
                    waiting += await self.submit_many(batch)
                    batch = []
                    while len(waiting) > _MAP_AHEAD:
                        yield await waiting[0]
                        waiting.popleft()
            if batch:
                waiting += await self.submit_many(batch)
            while waiting:
                yield await waiting[0]
                waiting.popleft()
        finally:
            self._settler.add([CancelWish(handle.id) for handle in waiting if handle.outcome is None])

    def _prepare(self, request: Request) -> Job:
        module = self._library[request.module]
        tenant = admission.check_name("tenant", request.tenant)
        args = admission.check_call(module, request.export, request.args)
        caps = admission.check_limits(request.limits, self.config.limits)
        priority = admission.check_priority(request.priority)
        delay = admission.check_delay(request.delay)
        key = None if request.key is None else admission.check_name("key", request.key, limit=255)
        now = self._clock.wall()
        return Job(
            id=f"{int(now * 1000):012x}{os.urandom(10).hex()}",
            call=Call(module.digest, request.export, args),
            caps=caps,
            tenant=tenant,
            priority=priority,
            key=key,
            submitted_at=now,
            due=now + delay,
            order=0.0,
            cost=min(self._fairness.expect(module.digest, request.export), float(caps.fuel)),
        )

    async def _enter(self, entered: dict[str, int], *, wait: bool) -> None:
        done: list[tuple[str, int]] = []
        try:
            for tenant, count in entered.items():
                await self._gate.enter(tenant, count, wait=wait)
                done.append((tenant, count))
        except BaseException:
            for tenant, count in done:
                self._gate.leave(tenant, count)
            raise

    async def _accept(self, jobs: Sequence[Job]) -> list[JobHandle]:
        tagged = []
        handles = []
        for job in jobs:
            order = self._fairness.tag(job.tenant, self._tenant(job.tenant).weight, job.cost)
            tagged.append(msgspec.structs.replace(job, order=order))
            handle = self._handles[job.id] = JobHandle(job.id, self.cancel)
            handles.append(handle)
        try:
            stored = await self._store.put(tagged)
        except BaseException:
            for job in tagged:
                self._withdraw(job)
            raise
        for place, (job, kept) in enumerate(zip(tagged, stored, strict=True)):
            if kept.id != job.id:
                self._withdraw(job)
                handles[place] = await self._handle(kept.id)
            else:
                self.metrics.submitted(job.tenant)
        self._dispatcher.bell.ring()
        return handles

    def _withdraw(self, job: Job) -> None:
        """Take back what `_accept` booked for a job that was not queued after all."""
        self._handles.pop(job.id, None)
        self._gate.leave(job.tenant, 1)
        self._fairness.settled(job.tenant, job.cost, 0.0)

    async def _handle(self, job_id: str) -> JobHandle:
        handle = self._handles.get(job_id)
        if handle is not None:
            return handle
        record = await self.job(job_id)
        handle = JobHandle(job_id, self.cancel)
        if record.outcome is not None:
            handle.settle(record.outcome)
        else:
            self._handles[job_id] = handle
        return handle

    # Ask and cancel.

    async def job(self, id: str) -> JobRecord:  # noqa: A002
        """Return what is known of a job. Raises `UnknownJob`."""
        record = await self._store.get(id)
        if record is None:
            raise UnknownJob(f"no job {id!r}: it never was, or its history has been pruned")
        return record

    async def jobs(
        self,
        *,
        tenant: str | None = None,
        status: State | Status | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[JobRecord]:
        """Return jobs, newest first, beginning behind the job with the id `after`."""
        return await self._store.list(tenant=tenant, status=status, after=after, limit=limit)

    async def wait(self, id: str, timeout: float | None = None) -> JobRecord:  # noqa: A002
        """Return a job once it is finished, or as it is after `timeout` seconds. Raises `UnknownJob`."""
        record = await self.job(id)
        if record.outcome is None:
            handle = await self._handle(id)
            with anyio.move_on_after(timeout):
                await handle
            record = await self.job(id)
        return record

    async def cancel(self, id: str) -> bool:  # noqa: A002
        """Cancel a job, waiting or running; False when it had finished already. Raises `UnknownJob`."""
        (found,) = await self._cancel_many([id])
        if found == "unknown":
            raise UnknownJob(f"no job {id!r}: it never was, or its history has been pruned")
        return found != "finished"

    async def _cancel_many(self, ids: Sequence[str]) -> list[str]:
        outcome = Outcome(status="cancelled", error=CANCELLED, engine=self.config.scheduler.engine)
        found = await self._store.cancel(ids, outcome)
        running = []
        for job_id, what in zip(ids, found, strict=True):
            if what == "cancelled":
                record = await self._store.get(job_id)
                if record is not None:
                    await self._settler.finish_queued(record.job, outcome)
            elif what == "running":
                running.append(job_id)
        self._settler.unwanted(running)
        self._crew.send(self._pool.cancel(running))
        self._settler.add([HandedBack(job, None) for job in self._pool.drop_alone(running)])
        return list(found)

    # Tenants.

    async def set_tenant(self, name: str, tenant: Tenant) -> None:
        """Set a tenant's share and bounds from now on."""
        admission.check_name("tenant", name)
        if len(self._tenants) >= _MAX_TENANTS and name not in self._tenants:
            raise Refused(f"tenant {name!r}: {_MAX_TENANTS} tenants are configured already")
        self._tenants[name] = tenant

    def tenants(self) -> dict[str, Tenant]:
        """Return the tenants that have been configured."""
        return dict(self._tenants)

    def _tenant(self, name: str) -> Tenant:
        return self._tenants.get(name, _DEFAULT_TENANT)

    # What the workers do.

    def joined(self, worker: int, *, solo: bool) -> None:
        """A worker is ready."""
        self._pool.join(worker, solo=solo)
        self._go_on_alone(worker)
        self._dispatcher.bell.ring()

    def said(self, worker: int, frame: Upward) -> None:
        """A worker sent a frame. Raises `ProtocolError` when it makes no sense."""
        match frame:
            case Outcomes():
                name = str(worker)
                ended = self._pool.ended(worker, frame.ended)
                self._settler.add([Ran(job, assigned, end, name) for job, assigned, end in ended])
                self._go_on_alone(worker)
            case Underway():
                self._pool.underway(worker, frame.tickets)
                self._dispatcher.bell.ring()
            case Unmappable():
                jobs = self._pool.returned(worker, frame.tickets)
                self._settler.add([HandedBack(job, frame.reason) for job in jobs])
                self._go_on_alone(worker)
            case Pulse():
                self.metrics.quanta(frame.quanta, frame.quanta_total)
            case _:
                raise ProtocolError(f"{type(frame).__name__} came out of turn")

    def _go_on_alone(self, worker: int) -> None:
        """Give a worker for single jobs the next one, or let it go."""
        if self._pool.is_idle_solo(worker):
            sendings = self._pool.feed_alone(worker, self._clock.wall())
            self._crew.send(sendings)
            if not sendings:
                self._crew.dismiss(worker)

    def left(self, worker: int, reason: str, words: str) -> None:
        """A worker is gone."""
        jobs = self._pool.leave(worker)
        self._settler.add([Died(job, f"{reason}: {words}" if words else reason) for job in jobs])
        if reason != "stopped":
            self.metrics.worker_restarted(reason)
            self._log.warning("worker.lost", worker=worker, reason=reason, words=words, jobs=len(jobs))

    # What can be seen.

    @property
    def live(self) -> bool:
        """Whether jobs are being claimed."""
        return self._tasks is not None and not self._stopped and self._dispatcher.claiming

    @property
    def ready(self) -> bool:
        """Whether jobs are taken and there is a worker to run them."""
        return self.live and self._gate.open and self._pool.workers > 0

    # Stop.

    async def stop(self) -> None:
        """Stop: start no more jobs, give the running ones the grace period, hand the rest back, end the workers.

        On a store that does not outlive the process, what has not finished by then is cancelled.
        """
        await self._stop(self.config.scheduler.grace)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        group, self._tasks = self._tasks, None
        if group is None:
            return None
        try:
            with anyio.CancelScope(shield=True):
                # Who leaves by an exception does not wait for guests.
                await self._stop(self.config.scheduler.grace if kind is None else 0.0)
        finally:
            group.cancel_scope.cancel()
            if isinstance(error, asyncio.CancelledError):
                swallowed = await group.__aexit__(kind, error, trace)
            else:
                # The caller's own exception goes on as it is, neither wrapped in a group nor swallowed with it.
                await group.__aexit__(None, None, None)
                swallowed = None
        return swallowed

    async def _stop(self, grace: float) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._gate.close()
        await self._dispatcher.stop()
        with anyio.move_on_after(grace):
            while self._pool.running:
                await self._settler.idle.wait()
        self._settler.stopping = True
        self._crew.stop()
        await self._crew.wait()
        self._settler.add([HandedBack(job, None) for job in self._pool.disband()])
        await self._settler.stop()
        await self._abandon()
        await self._library.close()
        await self._store.close()

    async def _abandon(self) -> None:
        """Answer everyone who still waits for a job."""
        if not self._store.durable:
            outcome = Outcome(status="cancelled", error="cancelled: the scheduler stopped before it finished")
            waiting = list(self._handles)
            for job_id, what in zip(waiting, await self._store.cancel(waiting, outcome), strict=True):
                record = await self._store.get(job_id) if what == "cancelled" else None
                if record is not None:
                    await self._settler.finish_queued(record.job, outcome)
        for handle in self._handles.values():
            handle.abandon(SchedulerClosed(f"the scheduler stopped before job {handle.id} finished"))
        self._handles.clear()

    def _check_running(self) -> None:
        if self._tasks is None or self._stopped:
            raise SchedulerClosed("the scheduler is not running; use it inside 'async with Scheduler(...)'")


_DEFAULT_TENANT = Tenant()


def _configured(config: Config | str | os.PathLike[str] | None, given: Mapping[str, Any]) -> Config:
    """Return the configuration with the given `[scheduler]` keys set. Raises `ConfigError` for an impossible value."""
    if not isinstance(config, Config):
        return load_config(config, overrides={f"scheduler.{name}": value for name, value in given.items()})
    return override(config, {f"scheduler.{name}": value for name, value in given.items()})


class _Gauges:
    """What a scrape reads of a running scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def jobs(self) -> Mapping[str, int]:
        return self._scheduler._store.counts()  # type: ignore[return-value]  # noqa: SLF001

    def oldest_ready_age(self) -> float:
        return self._scheduler._store.oldest_ready(self._scheduler._clock.wall())  # noqa: SLF001

    def instances(self) -> Mapping[str, int]:
        return self._scheduler._crew.instances()  # noqa: SLF001

    def workers(self) -> int:
        return self._scheduler._pool.workers  # noqa: SLF001
