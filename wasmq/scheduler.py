"""`Scheduler`: start → submit → dispatch → settle → stop."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import anyio

from wasmq import admission
from wasmq.bell import Bell
from wasmq.budgets import Budgets
from wasmq.clock import SystemClock
from wasmq.config import Config, Tenant, checked_tenant, configured
from wasmq.confinement import Confinement, announce
from wasmq.cron import Cron
from wasmq.engines import engine_label
from wasmq.errors import (
    InvalidArguments,
    Refused,
    SchedulerClosed,
    UnknownModule,
    error_for,
    no_such_job,
)
from wasmq.events import Position, follow
from wasmq.fairness import Fairness
from wasmq.gate import Gate
from wasmq.host import HostFunctions, offer_configured
from wasmq.job import Outcome
from wasmq.machine import memory_given
from wasmq.metrics import Metrics
from wasmq.modules import Module, is_digest
from wasmq.periodic import Planned, plan
from wasmq.recording import Recording
from wasmq.reload import Reloaded, reloaded
from wasmq.replay import Replay, check_replayable, compared, recorded, recording_of, run_elsewhere
from wasmq.requeue import again
from wasmq.settle import CancelWish, Died, HandedBack
from wasmq.store import JobRecord, SharedStore, Store, open_store
from wasmq.store.urls import MEMORY
from wasmq.submission import Accepted, ProgramOptions, Request
from wasmq.tasks import apart, leave
from wasmq.tenants import Tenants
from wasmq.version import __version__
from wasmq.window import Window
from wasmq.wiring import Base, Parts, Surface, modules_config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from anyio.abc import TaskGroup

    from wasmq.clock import Clock
    from wasmq.config import EngineName, PeriodicConfig
    from wasmq.estimate import Estimate
    from wasmq.events import JobEvent
    from wasmq.handles import JobHandle
    from wasmq.job import Job, Limits, OnExhausted, Reuse, State, Status
    from wasmq.ledger import Account
    from wasmq.upkeep import Upkeep
    from wasmq_worker.protocol import Wall

_F = TypeVar("_F", bound="Callable[..., Any]")
_SILENT = 30.0  # seconds beyond its timeout in which a store must answer a claim


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
        memory: int | str | None = None,
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
            "memory": memory,
            "max_queued": max_queued,
            "max_attempts": max_attempts,
            "grace": grace,
        }
        self.config = configured(config, {f"scheduler.{name}": value for name, value in given.items()})
        settings = self.config.scheduler
        given_tenants = {name: checked_tenant(name, tenant) for name, tenant in (tenants or {}).items()}
        self._tenants = Tenants({**self.config.tenants, **given_tenants}, settings.classes)
        self._clock = clock or SystemClock()
        url = settings.store or MEMORY
        self._store: Store = open_store(url, self.config.store, self._clock)
        self._budgets = Budgets(self._store, self._clock, self._tenants.all())
        self._functions = HostFunctions(self.config.prices.host)
        offer_configured(self._functions, self.config.host)
        self._fairness = Fairness(
            unknown_cost=settings.quantum,
            weight=(lambda tenant: self._tenants(tenant).weight) if isinstance(self._store, SharedStore) else None,
            ahead=self._tenants.ahead,
        )
        self._gate = Gate(settings.max_queued, lambda tenant: self._tenants(tenant).max_queued)
        self._handles: dict[str, JobHandle] = {}
        self._tasks: TaskGroup | None = None
        self._upkeep: Upkeep | None = None
        self._stopped = False
        self._ended = anyio.Event()
        self.metrics = Metrics(
            max_tenants=self.config.metrics.max_tenants,
            engine=settings.engine,
            engine_version=engine_label(),
            version=__version__,
        )
        self._work = Bell()
        self._base = Base(
            config=self.config,
            workers=settings.workers or len(os.sched_getaffinity(0)),
            memory=memory_given(settings.memory),
            url=url,
            store=self._store,
            tenants=self._tenants,
            budgets=self._budgets,
            confinement=Confinement(self.config),
            functions=self._functions,
            fairness=self._fairness,
            gate=self._gate,
            metrics=self.metrics,
            clock=self._clock,
            handles=self._handles,
            work=self._work,
        )

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
            self._ended.set()
            self._tasks = None
            with anyio.CancelScope(shield=True):
                await self._store.close()
            await leave(group, error)
            raise
        return self

    async def _start(self, tasks: TaskGroup) -> None:
        queued = await self._store.open()
        surface = Surface(
            submit=lambda requests: self.submit_many(requests, wait=False),
            cancel=self.cancel,
            refuel=self.refuel,
            events=self.events,
        )
        self._take_up(Parts(self._base, surface, tasks))
        if self._store.durable:
            await self._library.open()
        await self._crew.start(await self._library.place())
        self.metrics.sandboxed({wall.name: wall.state == "up" for wall in self.sandbox if wall.state != "moot"})
        announce(self.sandbox)
        self._resume(queued, await self._store.orphans(self._clock.wall()))
        for loop in self._parts.loops():
            await tasks.start(loop.run)
        if isinstance(self._store, SharedStore):
            self._upkeep = self._parts.upkeep(self._store)
            for loop in (*self._store.loops(), self._upkeep, self._parts.watcher(self._store)):
                await tasks.start(loop.run)
        for name, schedule in (await self._planned(self.config.periodic)).items():
            self._periodic.set(name, schedule.cron, schedule.request, catch_up=schedule.catch_up)
        await tasks.start(self._periodic.run)
        tasks.start_soon(self._estimator.recall)

    def _take_up(self, parts: Parts) -> None:
        self._parts = parts
        self._library = parts.library
        self._pool = parts.pool
        self._reuse = parts.reuse
        self._onlookers = parts.onlookers
        self._settler = parts.settler
        self._crew = parts.crew
        self._dispatcher = parts.dispatcher
        self._canceller = parts.canceller
        self._submission = parts.submission
        self._estimator = parts.estimator
        self._refuelling = parts.refuelling
        self._periodic = parts.periodic

    def _resume(self, queued: Sequence[Job], orphans: Sequence[Job]) -> None:
        """Take up what an earlier life of the store has left: jobs that wait, and jobs that died with it."""
        self._fairness.resume(
            [(job.tenant, self._tenants(job.tenant).weight, job.order, job.cost) for job in (*queued, *orphans)]
        )
        for job in queued:
            self._gate.readmit(job.tenant, 1)
        self._parts.expiry.watch(queued)
        self._settler.add([Died(job, "the daemon died while it ran") for job in orphans])

    @property
    def sandbox(self) -> tuple[Wall, ...]:
        """The walls around the workers: name, "up", "down" or "moot" (nothing to hold back here), and why.

        As the first worker has told; none before the scheduler runs.
        """
        return () if self._tasks is None else self._crew.walls

    # Offer, load and submit.

    def host_function(
        self,
        module: str,
        name: str,
        *,
        price: int | None = None,
        max_calls: int | None = None,
        tenants: str | Iterable[str] = (),
        inline: bool = False,
        params: Sequence[str] | None = None,
        results: Sequence[str] | None = None,
    ) -> Callable[[_F], _F]:
        """Offer a function of this program to guests, which import it as `module` `name`: a decorator.

        It runs in this process while the guest is parked: a coroutine as a task, a plain function in a thread, or with
        `inline` on the event loop, which it must not block. What it takes and gives is read from its annotations
        (docs/guests.md), or said by `params` and `results` such as ("i32", "bytes"). Only the jobs of `tenants` ("*"
        are all), of tenants with a grant, and those submitted with one may import it. `price` is the fuel of one call,
        by default `[prices] host`; `max_calls` the calls that one job may make of it. An exception in it ends the job.

        Raises `TypeError` for annotations or options without a meaning, and `ValueError` for names offered already.
        """
        return self._functions.offer(
            module,
            name,
            price=price,
            max_calls=max_calls,
            tenants=tenants,
            inline=inline,
            params=params,
            results=results,
        )

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

    async def recall(self, digests: Iterable[str]) -> None:
        """Load modules that an earlier life of the store has kept, or another daemon; what is nowhere stays unknown."""
        self._check_running()
        for digest in digests:
            if self._store.durable and digest not in self._library:
                with suppress(UnknownModule):
                    await self._library.recall(digest)

    def modules(self) -> list[Module]:
        """Return the loaded modules, oldest first."""
        self._check_running()
        return self._library.all()

    def module(self, digest: str) -> Module:
        """Return a loaded module. Raises `UnknownModule`."""
        self._check_running()
        return self._library[digest]

    async def wasm(self, digest: str) -> bytes:
        """Return the bytes of a loaded module. Raises `UnknownModule`."""
        self._check_running()
        return await self._library.wasm(self._library[digest].digest)

    async def estimate(self, module: Module | str, export: str | None = None, *, tenant: str | None = None) -> Estimate:
        """Return what a call of an export, or the run of a WASI command, is expected to cost, and when it would start.

        By the last calls of one tenant, or of all; the start is that of a job of this tenant, or of "default". Raises
        `UnknownModule` or `UnknownExport`.
        """
        self._check_running()
        digest = module if isinstance(module, str) else module.digest
        await self.recall([digest])
        export = admission.check_export(self._library[digest], export)
        self._library[digest].function(export)
        most = self.config.limits.max.fuel
        return self._estimator.estimate(digest, export, tenant=tenant, most=most)

    async def submit(
        self,
        module: Module | str,
        export: str | None = None,
        *args: Any,
        link: Mapping[str, Module | str] | None = None,
        limits: Limits | None = None,
        tenant: str = "default",
        priority: int = 0,
        key: str | None = None,
        delay: float = 0.0,
        deadline: float | None = None,
        grant: Sequence[str] = (),
        on_exhausted: OnExhausted = "stop",
        reuse: Reuse | None = None,
        record: bool | None = None,
        wait: bool = True,
        **program: Unpack[ProgramOptions],
    ) -> JobHandle:
        """Queue one call, or without an export the run of a WASI command; it is accepted once this returns.

        `delay` is in seconds, and so is `deadline`, from now: by then it is to have ended, or it is ended as timed out;
        where it is not expected to make it, it is refused, or flagged by the handle's `at_risk` (`[scheduler]
        deadlines`). Of a tenant's jobs of one priority the one with the earliest deadline starts first. A higher
        `priority` goes first; a `key` used before by the same tenant gives the earlier job. A full queue is waited for,
        or refused with `QueueFull` when `wait` is false. `link` names modules that satisfy imports, by the name that is
        imported from; `grant` names host functions that this job may import, such as "env.lookup", beside those granted
        to its tenant. With `on_exhausted="suspend"` a job that has spent its fuel waits to be refuelled, for
        `limits.suspend` seconds. With `reuse` "flight" the run of an identical job of the same tenant that is under way
        may answer this one, with "result" also one that has ended; None is the tenant's choice, by default "never".
        With `record` its host calls are kept, up to `limits.recording` bytes, so that it can be replayed; None is the
        tenant's choice too. What else is given says what a WASI guest sees: see `wasmq.job.Program`.

        Raises a `Refused`.
        """
        digest = module if isinstance(module, str) else module.digest
        self._check_running()
        handles = await self._submission.submit(
            (
                Request(
                    module=digest,
                    export=export,
                    args=args,
                    program=program,
                    link=link,
                    limits=limits,
                    tenant=tenant,
                    priority=priority,
                    key=key,
                    delay=delay,
                    deadline=deadline,
                    grant=grant,
                    on_exhausted=on_exhausted,
                    reuse=reuse,
                    record=record,
                ),
            ),
            wait=wait,
        )
        return handles[0]

    async def submit_many(self, requests: Sequence[Request], *, wait: bool = True) -> list[JobHandle]:
        """Queue several calls, all of them or none; returns their handles in the same order. Raises a `Refused`."""
        self._check_running()
        return await self._submission.submit(requests, wait=wait)

    async def accept(self, requests: Sequence[Request]) -> list[Accepted]:
        """Queue several calls as `submit_many` does without waiting for room, and say what is known of each job."""
        self._check_running()
        return await self._submission.accept(requests, wait=False)

    async def run(self, module: Module | str, export: str | None = None, *args: Any, **options: Any) -> Outcome:
        """Submit one call, or without an export a WASI command, and return its outcome; takes what `submit` takes.

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
        link: Mapping[str, Module | str] | None = None,
        limits: Limits | None = None,
        tenant: str = "default",
        priority: int = 0,
        on_exhausted: OnExhausted = "stop",
        grant: Sequence[str] = (),
        reuse: Reuse | None = None,
        record: bool | None = None,
        accepted: Callable[[JobHandle], object] | None = None,
    ) -> AsyncIterator[Outcome]:
        """Run an export once for each tuple of arguments, and yield the outcomes in their order.

        Never raises for what a guest did. When the iteration is given up, the calls that have not finished are
        cancelled. The rest is as in `submit`; `accepted` is called with the handle of each call, in their order, once
        it is accepted. With `on_exhausted="suspend"` a call that has spent its fuel holds up the outcomes behind it
        until it is refuelled, by that handle or its id, or given up after `limits.suspend` seconds.
        """
        self._check_running()
        digest = module if isinstance(module, str) else module.digest
        requests = (
            Request(
                module=digest,
                export=export,
                args=args,
                link=link,
                limits=limits,
                tenant=tenant,
                priority=priority,
                grant=grant,
                on_exhausted=on_exhausted,
                reuse=reuse,
                record=record,
            )
            for args in calls
        )
        window = Window(self.submit_many, batch=self._gate.limit_of(tenant), accepted=accepted)
        try:
            async for outcome in window.run(requests):
                yield outcome
        finally:
            self._settler.add([CancelWish(handle.id) for handle in window.unfinished()])

    # Ask and cancel.

    async def job(self, id: str) -> JobRecord:  # noqa: A002
        """Return what is known of a job, with what it has spent by now if it runs here. Raises `UnknownJob`."""
        return await self._refuelling.seen(await self._record(id))

    async def _record(self, id: str) -> JobRecord:  # noqa: A002
        record = await self._store.get(id)
        if record is None:
            raise no_such_job(id)
        return record.with_receipt()

    async def jobs(
        self,
        *,
        tenant: str | None = None,
        status: State | Status | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[JobRecord]:
        """Return jobs, newest first, beginning behind the job with the id `after`.

        Raises `UnknownJob` when that one has left the history, so that nobody takes it for the end.
        """
        if after is not None:
            await self._record(after)
        found = await self._store.list(tenant=tenant, status=status, after=after, limit=limit)
        return [self._refuelling.known(record).with_receipt() for record in found]

    async def wait(self, id: str, timeout: float | None = None) -> JobRecord:  # noqa: A002
        """Return a job once it is finished, or as it is after `timeout` seconds. Raises `UnknownJob`."""
        record = await self._record(id)
        handle = await self._submission.handle(id) if record.outcome is None else None
        if handle is not None:
            with anyio.move_on_after(timeout):
                await handle
            if handle.outcome is not None:
                # A short history may have forgotten it already.
                over = JobRecord(record.job, "finished", handle.outcome.attempts, handle.outcome)
                return (await self._store.get(id) or over).with_receipt()
            record = await self.job(id)
        return record

    def events(self, id: str, after: Position | None = None) -> AsyncGenerator[JobEvent]:  # noqa: A002
        """Tell what happens to a job, from its present state to its end; what was heard until `after` is left out.

        A running job is looked at about five times a second. Of a job that another daemon runs only the states are
        told. The iteration raises `UnknownJob`.
        """
        self._check_started()
        return follow(id, after or Position(), self._onlookers, self._record)

    async def requeue(self, id: str) -> JobHandle:  # noqa: A002
        """Queue the call of a job that was lost again, as a new job; a second time, that same one.

        Raises `UnknownJob`, `NotLost` for a job that did not end so, or a `Refused` as `submit` does.
        """
        (handle,) = await self.submit_many([again(await self._record(id))], wait=False)
        return handle

    async def refuel(self, id: str, fuel: int) -> int:  # noqa: A002
        """Let a job that runs, or is suspended, spend so much more fuel; returns what it may spend in all.

        Only a job submitted with `on_exhausted="suspend"` can be refuelled, while it runs, here or in another daemon
        of the store, which hears of it within about a second. Raises `UnknownJob`, `NotRefuellable`, `InvalidLimit`,
        `LimitTooHigh` when it would be more than a job may have, or `BudgetExhausted` when its tenant's account lacks
        the fuel.
        """
        self._check_running()
        return await self._refuelling.refuel(id, fuel)

    async def rerun(self, id: str) -> JobHandle:  # noqa: A002
        """Queue the call of a job that has ended again, exactly as it was, as a new job of the same tenant.

        Raises `UnknownJob`, `NotDeterministic`, or a `Refused` as `submit` does.
        """
        record = await self.job(id)
        check_replayable(record)
        return await self.repeat(record.job, recording_of(record))

    async def repeat(self, job: Job, recording: bytes | None = None) -> JobHandle:
        """Queue the call of a job, which may have run elsewhere, as a new job of this scheduler.

        With a packed `recording` its host calls are answered from that, and the functions are not called. Raises a
        `Refused`.
        """
        self._check_running()
        return await self._submission.repeat(job, recording)

    async def recording(self, id: str) -> Recording:  # noqa: A002
        """Return the host calls of a job that has ended, as recorded. Raises `UnknownJob` or `NotRecorded`."""
        return Recording.unpack(recorded(await self.job(id)))

    async def replay(self, id: str, engine: EngineName | None = None) -> Replay:  # noqa: A002
        """Run a job that has ended again, and say whether status, result and fuel agree to the unit.

        It is run as a job of the same tenant, at its cost; with the other `engine`, in a worker of its own beside the
        queue, at nobody's cost. Host calls that were recorded are answered from the recording. Raises as `rerun` does.
        """
        record = await self.job(id)
        check_replayable(record)
        then = record.outcome
        assert then is not None
        assert then.receipt is not None
        if engine not in (None, self.config.scheduler.engine):
            wasms = [await self._library.wasm(digest) for digest in dict.fromkeys(record.job.call.modules())]
            directory = modules_config(self.config, self._base.url).directory
            recording = recording_of(record)
            now = await run_elsewhere(
                engine,
                then.receipt,
                wasms,
                lambda other: other.repeat(record.job, recording),
                directory=directory,
                recording=recording,
            )
            return compared(id, None, then, now)
        handle = await self.rerun(id)
        try:
            now = await handle
        finally:
            if handle.outcome is None:
                self._settler.add([CancelWish(handle.id)])
        return compared(id, handle.id, then, now)

    async def cancel(self, id: str) -> bool:  # noqa: A002
        """Cancel a job, waiting or running; False when it had finished already. Raises `UnknownJob`."""
        self._check_started()
        if self._store.durable and self._tasks is not None and not self._stopped:
            # What the store has begun to record must be told to its end.
            (found,) = await apart(self._tasks, lambda: self._canceller.cancel([id]))
        else:
            (found,) = await self._canceller.cancel([id])
        if found == "unknown":
            raise no_such_job(id)
        return found != "finished"

    # Tenants.

    async def set_tenant(self, name: str, tenant: Tenant) -> None:
        """Set a tenant's share, bounds and account's terms from now on. Raises `ConfigError` for impossible ones."""
        tenant = checked_tenant(name, tenant)
        self._tenants.set(name, tenant)
        self._budgets.set(name, tenant)
        self._gate.admit()
        self._work.ring()

    def tenants(self) -> dict[str, Tenant]:
        """Return the tenants that have been configured."""
        return self._tenants.all()

    async def account(self, tenant: str) -> Account:
        """Return how a tenant's fuel account stands. Raises `NoAccount` when it has none."""
        self._check_running()
        return await self._budgets.account(tenant)

    def accounts(self) -> dict[str, Account]:
        """Return the accounts of the tenants that have one, as last known here."""
        self._check_running()
        return self._budgets.known()

    async def credit(self, tenant: str, fuel: int, *, key: str | None = None) -> Account:
        """Grant a tenant fuel beside its budget, once for a `key`, and return its account then.

        Raises `NoAccount`, `KeyConflict`, `InvalidArguments`, or `StoreUnavailable`: then it is not known whether it
        was granted, and asking again with the key is safe.
        """
        self._check_running()
        known_by = None if key is None else admission.check_name("key", key, limit=255)
        account = await self._budgets.credit(admission.check_name("tenant", tenant), fuel, known_by)
        self._work.ring()
        return account

    async def reload(self, config: Config) -> Reloaded:
        """Take over what can change while jobs run from another configuration, and say what did and what cannot.

        Tenants that were set in the meantime stay as they are, unless `config` says something new of them. Raises
        `ConfigError` for a periodic job that cannot be scheduled; then nothing has changed.
        """
        self._check_running()
        news = reloaded(self.config, config)
        planned = await self._planned(
            {name: entry for name, entry in config.periodic.items() if self.config.periodic.get(name) != entry}
        )
        for name in self.config.periodic.keys() - config.periodic.keys():
            self._periodic.remove(name)
        for name, schedule in planned.items():
            self._periodic.set(name, schedule.cron, schedule.request, catch_up=schedule.catch_up)
        for name, tenant in self._tenants.reload(self.config.tenants, news.config.tenants).items():
            self._budgets.set(name, tenant)
        self.config = news.config
        self._submission.limits = self._refuelling.limits = news.config.limits
        self._submission.refuses_late = news.config.scheduler.deadlines == "refuse"
        self._store.configure(news.config.store)
        self._gate.limit = news.config.scheduler.max_queued
        self._gate.admit()
        return news

    # Periodic jobs.

    async def schedule(
        self,
        name: str,
        cron: str,
        module: Module | str,
        export: str | None = None,
        /,
        *args: Any,
        timezone: str = "UTC",
        catch_up: bool = True,
        link: Mapping[str, Module | str] | None = None,
        limits: Limits | None = None,
        tenant: str = "default",
        priority: int = 0,
        grant: Sequence[str] = (),
        on_exhausted: OnExhausted = "stop",
        record: bool | None = None,
        **program: Unpack[ProgramOptions],
    ) -> None:
        """Submit a call whenever a cron expression fires, in place of what was scheduled under this name before.

        Each firing is one job, also when several daemons that share a store have the schedule; its key is
        "periodic:NAME:SECONDS", the time of the firing since 1970. With `catch_up`, of the firings that were missed
        while none of them ran the last one is made up for. The schedule itself lasts as long as this scheduler. The
        rest is as in `submit`. Raises `InvalidArguments` for an expression or a time zone that cannot be understood, or
        another `Refused` when the call would be refused now.
        """
        self._check_running()
        admission.check_name("name", name, limit=100)
        try:
            parsed = Cron(cron, timezone)
        except ValueError as error:
            raise InvalidArguments(f"schedule {name!r}: {error}") from None
        request = Request(
            module=module if isinstance(module, str) else module.digest,
            export=export,
            args=args,
            program=program,
            link=link,
            limits=limits,
            tenant=tenant,
            priority=priority,
            grant=grant,
            on_exhausted=on_exhausted,
            record=record,
        )
        await self._submission.check(request)
        self._periodic.set(name, parsed, request, catch_up=catch_up)

    async def unschedule(self, name: str) -> bool:
        """End a schedule; False when there is none of this name. Jobs that it has submitted are not touched."""
        self._check_running()
        return self._periodic.remove(name)

    async def _planned(self, entries: Mapping[str, PeriodicConfig]) -> dict[str, Planned]:
        return await plan(entries, self._configured_module, self._submission.check)

    async def _configured_module(self, module: str) -> Module:
        """Return the module of a file, or of a digest."""
        if is_digest(module):
            await self.recall([module])
            return self._library[module]
        return await self.load(module)

    # What can be seen.

    @property
    def live(self) -> bool:
        """Whether jobs are being claimed."""
        return self._not_live() is None

    @property
    def ready(self) -> bool:
        """Whether jobs are taken and there is a worker to run them."""
        return self.problem is None

    @property
    def problem(self) -> str | None:
        """Why the scheduler is not ready, and perhaps not live either, in one line; None when it is."""
        problem = self._not_live()
        if problem is None and self._pool.workers == 0:
            return "no worker process is ready"
        return problem

    def _not_live(self) -> str | None:
        if self._tasks is None or self._stopped:
            return "the scheduler is stopping, or does not run"
        # A store that has not answered for longer than it may take has not said that it is away.
        silent = self._dispatcher.silent()
        if silent > _SILENT + self.config.store.timeout:
            return f"the store has not answered for {silent:.0f} seconds"
        return self._dispatcher.problem

    # Stop.

    async def stop(self) -> None:
        """Stop: start no more jobs, give the running ones the grace period, hand the rest back, end the workers.

        On a store that does not outlive the process, what has not finished by then is cancelled.
        """
        await self._stop(self.config.scheduler.grace)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        group = self._tasks
        if group is None:
            return None
        try:
            with anyio.CancelScope(shield=True):
                # Who leaves by an exception does not wait for guests.
                await self._stop(self.config.scheduler.grace if kind is None else 0.0)
        finally:
            group.cancel_scope.cancel()
            swallowed = await leave(group, error)
        return swallowed

    async def _stop(self, grace: float) -> None:
        self._check_started()
        if self._stopped:
            await self._ended.wait()
            return
        self._stopped = True
        self._gate.close()
        if self._upkeep is not None:
            self._upkeep.stop()
        try:
            await self._dispatcher.stop()
            with anyio.move_on_after(grace):
                # Nobody can refuel a job any more, so those that are suspended are not waited for.
                while self._pool.running > self._pool.suspended:
                    await self._settler.idle.wait()
        finally:
            # Who gives up waiting for a stop ends the grace period, not the stop.
            with anyio.CancelScope(shield=True):
                try:
                    await self._end()
                finally:
                    self._abandon()
                    self._ended.set()

    async def _end(self) -> None:
        """End the workers and settle what they leave."""
        try:
            self._settler.stopping = True
            self._crew.stop()
            await self._crew.wait()
            self._settler.add([HandedBack(job) for job in (*self._pool.disband(), *self._reuse.drop())])
            await self._settler.stop()
            if not self._store.durable:
                outcome = Outcome(status="cancelled", error="cancelled: the scheduler stopped before it finished")
                await self._canceller.cancel_queued(list(self._handles), outcome)
            await self._library.close()
        finally:
            await self._store.close()

    def _abandon(self) -> None:
        """Tell everyone who still waits for a job that no outcome will come."""
        for handle in self._handles.values():
            handle.abandon(SchedulerClosed(f"the scheduler stopped before job {handle.id} finished"))
        self._handles.clear()
        self._onlookers.abandon()

    def _check_started(self) -> None:
        if self._tasks is None and not self._stopped:
            raise SchedulerClosed(_NOT_RUNNING)

    def _check_running(self) -> None:
        if self._tasks is None or self._stopped:
            raise SchedulerClosed(_NOT_RUNNING)


_NOT_RUNNING = "the scheduler is not running; use it inside 'async with Scheduler(...)'"
