"""The life of one scheduler: its parts are made, started in their order, watched, and stopped in the reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from wasmq.confinement import announce
from wasmq.errors import SchedulerClosed
from wasmq.job import Outcome
from wasmq.settle import Died, HandedBack
from wasmq.store import SharedStore
from wasmq.tasks import leave
from wasmq.wiring import Parts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from anyio.abc import TaskGroup

    from wasmq.job import Job
    from wasmq.periodic import Planned
    from wasmq.upkeep import Upkeep
    from wasmq.wiring import Base, Surface

_SILENT: Final = 30.0  # seconds beyond its timeout in which a store must answer a claim
_NOT_RUNNING: Final = "the scheduler is not running; use it inside 'async with Scheduler(...)'"


class Life:
    """Begins once and ends once. `tasks` is there from its beginning until it is left, `parts` from its beginning on.

    `take_up` is told of the parts before anything of them runs; `planned` says which periodic jobs are configured.
    """

    parts: Parts

    def __init__(
        self,
        base: Base,
        surface: Surface,
        take_up: Callable[[Parts], None],
        planned: Callable[[], Awaitable[Mapping[str, Planned]]],
    ) -> None:
        self.tasks: TaskGroup | None = None
        self._base = base
        self._surface = surface
        self._take_up = take_up
        self._planned = planned
        self._upkeep: Upkeep | None = None
        self._stopped = False
        self._ended = anyio.Event()

    @property
    def runs(self) -> bool:
        """Whether it has begun and is not being stopped."""
        return self.tasks is not None and not self._stopped

    def check_started(self) -> None:
        """Raise `SchedulerClosed` unless it has begun; it may be over."""
        if self.tasks is None and not self._stopped:
            raise SchedulerClosed(_NOT_RUNNING)

    def check_runs(self) -> None:
        """Raise `SchedulerClosed` unless it `runs`."""
        if self.tasks is None or self._stopped:
            raise SchedulerClosed(_NOT_RUNNING)

    def obstacle(self) -> str | None:
        """Return why no jobs are being claimed, in one line; None when they are."""
        if self.tasks is None or self._stopped:
            return "the scheduler is stopping, or does not run"
        # A store that has not answered for longer than it may take has not said that it is away.
        silent = self.parts.dispatcher.silent()
        if silent > _SILENT + self._base.config.store.timeout:
            return f"the store has not answered for {silent:.0f} seconds"
        return self.parts.dispatcher.problem

    async def begin(self) -> None:
        """Start everything, or nothing: whatever cannot be started is raised when the rest is gone again."""
        if self.tasks is not None or self._stopped:
            raise SchedulerClosed("a scheduler runs once; make a new one")
        group = anyio.create_task_group()
        self.tasks = await group.__aenter__()
        try:
            await self._begin(group)
        except BaseException as error:
            group.cancel_scope.cancel()
            self._stopped = True
            self._ended.set()
            self.tasks = None
            with anyio.CancelScope(shield=True):
                await self._base.store.close()
            await leave(group, error)
            raise

    async def stop(self, grace: float) -> None:
        """Start no more jobs, give the running ones so many seconds, hand the rest back, end the workers."""
        self.check_started()
        if self._stopped:
            await self._ended.wait()
            return
        self._stopped = True
        parts = self.parts
        self._base.gate.close()
        if self._upkeep is not None:
            self._upkeep.stop()
        try:
            await parts.dispatcher.stop()
            with anyio.move_on_after(grace):
                # Nobody can refuel a job any more, so those that are suspended are not waited for.
                while parts.pool.running > parts.pool.suspended:
                    await parts.settler.idle.wait()
        finally:
            # Who gives up waiting for a stop ends the grace period, not the stop.
            with anyio.CancelScope(shield=True):
                try:
                    await self._end()
                finally:
                    self._abandon()
                    self._ended.set()

    async def leave(self, error: BaseException | None) -> bool | None:
        """Stop, and leave the tasks; whether the `error` that led here is swallowed."""
        group = self.tasks
        if group is None:
            return None
        try:
            with anyio.CancelScope(shield=True):
                # Who leaves by an exception does not wait for guests.
                await self.stop(self._base.config.scheduler.grace if error is None else 0.0)
        finally:
            group.cancel_scope.cancel()
            swallowed = await leave(group, error)
        return swallowed

    async def _begin(self, tasks: TaskGroup) -> None:
        base = self._base
        queued = await base.store.open()
        parts = self.parts = Parts(base, self._surface, tasks)
        self._take_up(parts)
        if base.store.durable:
            await parts.library.open()
        await parts.crew.start(await parts.library.place())
        walls = parts.crew.walls
        base.metrics.sandboxed({wall.name: wall.state == "up" for wall in walls if wall.state != "moot"})
        announce(walls)
        self._resume(queued, await base.store.orphans(base.clock.wall()))
        for loop in parts.loops():
            await tasks.start(loop.run)
        if isinstance(base.store, SharedStore):
            self._upkeep = parts.upkeep(base.store)
            for loop in (*base.store.loops(), self._upkeep, parts.watcher(base.store)):
                await tasks.start(loop.run)
        for name, schedule in (await self._planned()).items():
            parts.periodic.set(name, schedule.cron, schedule.request, catch_up=schedule.catch_up)
        await tasks.start(parts.periodic.run)
        tasks.start_soon(parts.estimator.recall)

    def _resume(self, queued: Sequence[Job], orphans: Sequence[Job]) -> None:
        """Take up what an earlier life of the store has left: jobs that wait, and jobs that died with it."""
        base = self._base
        base.fairness.resume(
            [(job.tenant, base.tenants(job.tenant).weight, job.order, job.cost) for job in (*queued, *orphans)]
        )
        for job in queued:
            base.gate.readmit(job.tenant, 1)
        self.parts.expiry.watch(queued)
        self.parts.settler.add([Died(job, "the daemon died while it ran") for job in orphans])

    async def _end(self) -> None:
        """End the workers and settle what they leave."""
        base, parts = self._base, self.parts
        try:
            parts.settler.stopping = True
            parts.crew.stop()
            await parts.crew.wait()
            parts.settler.add([HandedBack(job) for job in (*parts.pool.disband(), *parts.reuse.drop())])
            await parts.settler.stop()
            if not base.store.durable:
                outcome = Outcome(status="cancelled", error="cancelled: the scheduler stopped before it finished")
                await parts.canceller.cancel_queued(list(base.handles), outcome)
            await parts.library.close()
        finally:
            await base.store.close()

    def _abandon(self) -> None:
        """Tell everyone who still waits for a job that no outcome will come."""
        for handle in self._base.handles.values():
            handle.abandon(SchedulerClosed(f"the scheduler stopped before job {handle.id} finished"))
        self._base.handles.clear()
        self.parts.onlookers.abandon()
