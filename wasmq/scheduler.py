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
from wasmq.confinement import Confinement
from wasmq.cron import Cron
from wasmq.engines import engine_label
from wasmq.errors import (
    InvalidArguments,
    Refused,
    UnknownModule,
    error_for,
    no_such_job,
)
from wasmq.events import Position, follow
from wasmq.fairness import Fairness
from wasmq.gate import Gate
from wasmq.host import HostFunctions, offer_configured
from wasmq.life import Life
from wasmq.machine import memory_given
from wasmq.metrics import Metrics
from wasmq.modules import Module, is_digest
from wasmq.periodic import Planned, plan
from wasmq.recording import Recording
from wasmq.reload import Reloaded, reloaded
from wasmq.replay import Replay, check_replayable, compared, recorded, recording_of, run_elsewhere
from wasmq.requeue import again
from wasmq.settle import CancelWish
from wasmq.store import JobRecord, SharedStore, Store, open_store
from wasmq.store.loaded import EVERYBODY
from wasmq.store.urls import MEMORY
from wasmq.submission import Accepted, ProgramOptions, Request
from wasmq.tasks import apart
from wasmq.tenants import Tenants
from wasmq.version import __version__
from wasmq.window import Window
from wasmq.wiring import Base, Parts, Surface, modules_config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from wasmq.clock import Clock
    from wasmq.config import EngineName, PeriodicConfig
    from wasmq.estimate import Estimate
    from wasmq.events import JobEvent
    from wasmq.handles import JobHandle
    from wasmq.job import Job, Limits, OnExhausted, Outcome, Reuse, State, Status
    from wasmq.ledger import Account
    from wasmq_worker.protocol import Wall

_F = TypeVar("_F", bound="Callable[..., Any]")


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
        surface = Surface(
            submit=lambda requests: self.submit_many(requests, wait=False),
            cancel=self.cancel,
            refuel=self.refuel,
            events=self.events,
        )
        self._life = Life(self._base, surface, self._take_up, lambda: self._planned(self.config.periodic))

    # Start.

    async def __aenter__(self) -> Scheduler:
        await self._life.begin()
        return self

    def _take_up(self, parts: Parts) -> None:
        self._library = parts.library
        self._pool = parts.pool
        self._onlookers = parts.onlookers
        self._settler = parts.settler
        self._crew = parts.crew
        self._canceller = parts.canceller
        self._submission = parts.submission
        self._estimator = parts.estimator
        self._refuelling = parts.refuelling
        self._periodic = parts.periodic

    @property
    def sandbox(self) -> tuple[Wall, ...]:
        """The walls around the workers: name, "up", "down" or "moot" (nothing to hold back here), and why.

        As the first worker has told; none before the scheduler runs.
        """
        return () if self._life.tasks is None else self._crew.walls

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
        self._life.check_runs()
        try:
            return await self._library.load(source)
        except Refused as error:
            self.metrics.rejected(error.reason)
            raise

    async def share(self, module: Module | str, tenant: str | None = None) -> None:
        """Let a tenant's tokens use a module over HTTP, or everybody's.

        A token can name only the modules that its tenant has loaded itself and those that were shared; for it there are
        no others. The store keeps that, for each tenant of the last `[modules] max_loaded` modules. Raises
        `UnknownModule`, `InvalidArguments` for a name that no tenant can have, or `StoreUnavailable`.
        """
        digest = module if isinstance(module, str) else module.digest
        await self.recall([digest])
        name = EVERYBODY if tenant is None else admission.check_name("tenant", tenant)
        await self._store.note_loaded(name, self._library[digest].digest, self.config.modules.max_loaded)

    async def shared(self, digests: Sequence[str], tenant: str) -> set[str]:
        """Return which of some modules a tenant's tokens may use over HTTP. Raises `StoreUnavailable`."""
        self._life.check_runs()
        return await self._store.loaded(tenant, digests)

    async def recall(self, digests: Iterable[str]) -> None:
        """Load modules that an earlier life of the store has kept, or another daemon; what is nowhere stays unknown."""
        self._life.check_runs()
        for digest in digests:
            if self._store.durable and digest not in self._library:
                with suppress(UnknownModule):
                    await self._library.recall(digest)

    def modules(self) -> list[Module]:
        """Return the loaded modules, oldest first."""
        self._life.check_runs()
        return self._library.all()

    def module(self, digest: str) -> Module:
        """Return a loaded module. Raises `UnknownModule`."""
        self._life.check_runs()
        return self._library[digest]

    async def wasm(self, digest: str) -> bytes:
        """Return the bytes of a loaded module. Raises `UnknownModule`."""
        self._life.check_runs()
        return await self._library.wasm(self._library[digest].digest)

    async def estimate(self, module: Module | str, export: str | None = None, *, tenant: str | None = None) -> Estimate:
        """Return what a call of an export, or the run of a WASI command, is expected to cost, and when it would start.

        By the last calls of one tenant, or of all; the start is that of a job of this tenant, or of "default". Raises
        `UnknownModule` or `UnknownExport`.
        """
        self._life.check_runs()
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
        self._life.check_runs()
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
        self._life.check_runs()
        return await self._submission.submit(requests, wait=wait)

    async def accept(self, requests: Sequence[Request]) -> list[Accepted]:
        """Queue several calls as `submit_many` does without waiting for room, and say what is known of each job."""
        self._life.check_runs()
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
        self._life.check_runs()
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
        self._life.check_started()
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
        self._life.check_runs()
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
        self._life.check_runs()
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
        self._life.check_started()
        if self._store.durable and self._life.tasks is not None and self._life.runs:
            # What the store has begun to record must be told to its end.
            (found,) = await apart(self._life.tasks, lambda: self._canceller.cancel([id]))
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
        self._life.check_runs()
        return await self._budgets.account(tenant)

    def accounts(self) -> dict[str, Account]:
        """Return the accounts of the tenants that have one, as last known here."""
        self._life.check_runs()
        return self._budgets.known()

    async def credit(self, tenant: str, fuel: int, *, key: str | None = None) -> Account:
        """Grant a tenant fuel beside its budget, once for a `key`, and return its account then.

        Raises `NoAccount`, `KeyConflict`, `InvalidArguments`, or `StoreUnavailable`: then it is not known whether it
        was granted, and asking again with the key is safe.
        """
        self._life.check_runs()
        known_by = None if key is None else admission.check_name("key", key, limit=255)
        account = await self._budgets.credit(admission.check_name("tenant", tenant), fuel, known_by)
        self._work.ring()
        return account

    async def reload(self, config: Config) -> Reloaded:
        """Take over what can change while jobs run from another configuration, and say what did and what cannot.

        Tenants that were set in the meantime stay as they are, unless `config` says something new of them. Raises
        `ConfigError` for a periodic job that cannot be scheduled; then nothing has changed.
        """
        self._life.check_runs()
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
        self._life.check_runs()
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
        self._life.check_runs()
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
        return self._life.obstacle() is None

    @property
    def ready(self) -> bool:
        """Whether jobs are taken and there is a worker to run them."""
        return self.problem is None

    @property
    def problem(self) -> str | None:
        """Why the scheduler is not ready, and perhaps not live either, in one line; None when it is."""
        problem = self._life.obstacle()
        if problem is None and self._pool.workers == 0:
            return "no worker process is ready"
        return problem

    # Stop.

    async def stop(self) -> None:
        """Stop: start no more jobs, give the running ones the grace period, hand the rest back, end the workers.

        On a store that does not outlive the process, what has not finished by then is cancelled.
        """
        await self._life.stop(self.config.scheduler.grace)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._life.leave(error)
