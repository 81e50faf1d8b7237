"""What a running scheduler is made of, put together: each part is given the others that it talks to."""

from __future__ import annotations

import random
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from wasmq.backoff import Backoff
from wasmq.cancelling import Canceller
from wasmq.deadlines import Deadlines
from wasmq.dispatch import Dispatcher
from wasmq.estimate import Estimator
from wasmq.events import Onlookers
from wasmq.expiry import Expiry
from wasmq.foreman import Foreman
from wasmq.gauges import SchedulerGauges
from wasmq.host_calls import HostCalls
from wasmq.lag import LagMeter
from wasmq.modules import Library
from wasmq.periodic import Periodic
from wasmq.pool.crew import Crew
from wasmq.pool.memory import Memory
from wasmq.pool.pool import Pool
from wasmq.refuelling import Refuelling
from wasmq.reuse import Reuse
from wasmq.settle import Beyond, Doubtful, HandedBack, Late, Postponed, Settler
from wasmq.store.urls import modules_beside
from wasmq.submission import Submission
from wasmq.upkeep import Upkeep
from wasmq.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

    from wasmq.bell import Bell
    from wasmq.budgets import Budgets
    from wasmq.clock import Clock
    from wasmq.config import Config, ModulesConfig
    from wasmq.confinement import Confinement
    from wasmq.events import JobEvent
    from wasmq.fairness import Fairness
    from wasmq.gate import Gate
    from wasmq.handles import JobHandle
    from wasmq.host import HostFunctions
    from wasmq.metrics import Metrics
    from wasmq.store import SharedStore, Store
    from wasmq.store.protocol import Loop
    from wasmq.submission import Request
    from wasmq.tenants import Tenants


class Base(NamedTuple):
    """What a scheduler has before it runs. `url` names the store; `work` is rung when there may be something to do.

    `memory` is the bytes that all workers' jobs may have together.
    """

    config: Config
    workers: int
    memory: int
    url: str
    store: Store
    tenants: Tenants
    budgets: Budgets
    confinement: Confinement
    functions: HostFunctions
    fairness: Fairness
    gate: Gate
    metrics: Metrics
    clock: Clock
    handles: dict[str, JobHandle]
    work: Bell


class Surface(NamedTuple):
    """The scheduler's own methods that its parts call."""

    submit: Callable[[Sequence[Request]], Awaitable[Any]]
    cancel: Callable[[str], Awaitable[bool]]
    refuel: Callable[[str, int], Awaitable[int]]
    events: Callable[[str], AsyncGenerator[JobEvent]]


class Parts:
    """The parts of one scheduler, made in the order of what they need; those made later are reached when called."""

    def __init__(self, base: Base, surface: Surface, tasks: TaskGroup) -> None:
        self._base = base
        self._tasks = tasks
        self.library = self._library()
        self.pool = self._pool()
        self.reuse = Reuse(base.config.reuse, base.metrics.reused)
        self.onlookers = Onlookers(self.pool, lambda sendings: self.crew.send(sendings))
        self.deadlines = Deadlines()
        self.estimator = Estimator(
            engine=base.config.scheduler.engine,
            workers=base.workers,
            fairness=base.fairness,
            store=base.store,
            deadlines=self.deadlines,
        )
        self.settler = self._settler()
        self.calls = HostCalls(base.config.host, base.metrics, base.clock, tasks, lambda frames: self.crew.send(frames))
        self.refuelling = Refuelling(
            limits=base.config.limits,
            store=base.store,
            pool=self.pool,
            send=lambda frames: self.crew.send(frames),
            onlookers=self.onlookers,
            metrics=base.metrics,
            clock=base.clock,
            idle=self.settler.idle,
            tasks=tasks,
        )
        self.crew = Crew(base.config, base.workers, base.clock, self._foreman(), tasks, base.confinement)
        self.dispatcher = self._dispatcher()
        self.canceller = Canceller(
            store=base.store,
            pool=self.pool,
            crew=self.crew,
            settler=self.settler,
            dispatcher=self.dispatcher,
            engine=base.config.scheduler.engine,
        )
        self.expiry = self._expiry()
        self.submission = self._submission(surface)
        self.periodic = Periodic(store=base.store, submit=surface.submit, clock=base.clock)
        base.metrics.watch(SchedulerGauges(base.store, self.pool, self.crew, base.clock, base.budgets))

    def loops(self) -> tuple[Loop, ...]:
        """Return what runs as long as the scheduler does, on any store, in the order in which it is started."""
        return (
            self.settler,
            self.calls,
            self.dispatcher,
            self.refuelling,
            self.expiry,
            LagMeter(self._base.metrics, self._base.clock),
        )

    def upkeep(self, store: SharedStore) -> Upkeep:
        """Return the loop that keeps a store in order that other daemons share."""
        base = self._base
        return Upkeep(
            store=store,
            lease=base.config.store.lease,
            fairness=base.fairness,
            gate=base.gate,
            settler=self.settler,
            clock=base.clock,
            work=base.work,
        )

    def watcher(self, store: SharedStore) -> Watcher:
        """Return the loop that sees what other daemons do to jobs of this one."""
        base = self._base
        return Watcher(
            store=store,
            handles=base.handles,
            runs_here=self.pool.holds,
            ended=self.settler.finished_elsewhere,
            cancel=self.canceller.cancel_here,
            refuel=self.refuelling.look,
            # Longer than a `put` can take.
            patience=3 * base.config.store.timeout,
            clock=base.clock,
            work=base.work,
        )

    def _library(self) -> Library:
        base = self._base
        return Library(
            modules_config(base.config, base.url),
            base.config.scheduler.engine,
            base.metrics,
            self._tasks,
            base.store,
            in_use=self._modules_in_use,
            forgotten=self._forget_module,
            confinement=base.confinement,
        )

    def _pool(self) -> Pool:
        base, settings = self._base, self._base.config.scheduler
        return Pool(
            instances=settings.instances,
            memory=Memory(base.memory // base.workers, base.workers),
            is_last=lambda job: settings.max_attempts > 1 and job.attempt - job.returned >= settings.max_attempts,
            weight=lambda tenant: base.tenants(tenant).weight,
            modules=self.library.__getitem__,
            counted=self.library.counted,
            imports=base.functions.imports,
        )

    def _settler(self) -> Settler:
        base, settings = self._base, self._base.config.scheduler
        return Settler(
            store=base.store,
            fairness=base.fairness,
            gate=base.gate,
            metrics=base.metrics,
            estimator=self.estimator,
            deadlines=self.deadlines,
            library=self.library,
            clock=base.clock,
            handles=base.handles,
            onlookers=self.onlookers,
            max_attempts=settings.max_attempts,
            backoff=Backoff(settings.retry_backoff, settings.retry_backoff_max, random.Random()),
            engine=lambda: (settings.engine, self.crew.engine_version),
            prices=base.config.prices,
            reuse=self.reuse,
            resume=lambda jobs: self.dispatcher.take(jobs),
            cancel=lambda ids, known: self.canceller.cancel(ids, known),
            work=base.work,
            tasks=self._tasks,
        )

    def _foreman(self) -> Foreman:
        base = self._base
        return Foreman(
            pool=self.pool,
            settler=self.settler,
            library=self.library,
            functions=base.functions,
            calls=self.calls,
            metrics=base.metrics,
            clock=base.clock,
            work=base.work,
            onlookers=self.onlookers,
            refuelling=self.refuelling,
            estimator=self.estimator,
        )

    def _dispatcher(self) -> Dispatcher:
        base = self._base
        return Dispatcher(
            store=base.store,
            pool=self.pool,
            crew=self.crew,
            fairness=base.fairness,
            gate=base.gate,
            clock=base.clock,
            work=base.work,
            onlookers=self.onlookers,
            library=self.library,
            functions=base.functions,
            reuse=self.reuse,
            tasks=self._tasks,
            answered=lambda answers: self.settler.add(answers),
            hand_back=lambda jobs: self.settler.add([HandedBack(job) for job in jobs]),
            expire=lambda jobs: self.settler.add([Late(job) for job in jobs]),
            deadlines=self.deadlines,
            postpone=lambda jobs: self.settler.add([Postponed(job) for job in jobs]),
            lose=lambda jobs, why: self.settler.add([Beyond(job, why) for job in jobs]),
        )

    def _expiry(self) -> Expiry:
        base = self._base
        return Expiry(
            store=base.store,
            pool=self.pool,
            dispatcher=self.dispatcher,
            settler=self.settler,
            canceller=self.canceller,
            deadlines=self.deadlines,
            clock=base.clock,
            engine=base.config.scheduler.engine,
        )

    def _submission(self, surface: Surface) -> Submission:
        base = self._base
        return Submission(
            limits=base.config.limits,
            share=self.pool.memory.size,
            max_bytes=int(base.config.host.max_bytes),
            refuses_late=base.config.scheduler.deadlines == "refuse",
            estimator=self.estimator,
            watch=self.expiry.watch,
            library=self.library,
            functions=base.functions,
            store=base.store,
            fairness=base.fairness,
            gate=base.gate,
            metrics=base.metrics,
            clock=base.clock,
            budgets=base.budgets,
            tenant=base.tenants,
            handles=base.handles,
            cancel=surface.cancel,
            events=surface.events,
            refuel=surface.refuel,
            work=base.work,
            doubtful=lambda jobs: self.settler.add([Doubtful(job) for job in jobs]),
        )

    def _modules_in_use(self) -> set[str]:
        """Return the modules of all jobs that have been started and are not settled."""
        started = chain(self.pool.jobs(), self.dispatcher.jobs(), self.settler.jobs())
        return {digest for job in started for digest in job.call.modules()}

    def _forget_module(self, digest: str) -> None:
        self.pool.forget(digest)
        self._base.functions.forget(digest)


def modules_config(config: Config, url: str) -> ModulesConfig:
    """Return where modules are kept: beside a store's file unless configured, for they must last as long."""
    beside = modules_beside(url)
    if config.modules.directory is not None or beside is None:
        return config.modules
    return msgspec.structs.replace(config.modules, directory=str(beside))
