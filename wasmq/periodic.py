"""The periodic loop: each time that a schedule fires, its call is submitted once, whoever else has the same schedule.

A firing has an idempotency key made of its name and its time, so that daemons that share a store submit one job between
them; and the store keeps how far each schedule has come, so that a restart submits nothing twice and knows what was
missed. Of several missed firings the last one is made up for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from wasmq.admission import check_name
from wasmq.bell import Bell
from wasmq.cron import Cron
from wasmq.errors import ConfigError, QueueFull, Refused, SchedulerClosed, StoreUnavailable, WasmqError
from wasmq.logs import get_logger
from wasmq.submission import ProgramOptions, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from anyio.abc import TaskStatus

    from wasmq.clock import Clock
    from wasmq.config import PeriodicConfig
    from wasmq.modules import Module
    from wasmq.store import Store

_LOOK_AGAIN: Final = 30.0  # seconds after which the clock is looked at again: it may have been set
_TRY_AGAIN: Final = 1.0  # seconds until a firing is tried again that there was no room or no store for


def entry_request(entry: PeriodicConfig, digest: str) -> Request:
    """Return what a section of the configuration wants submitted, with its module's digest."""
    program = ProgramOptions()
    if entry.argv:
        program["argv"] = entry.argv
    if entry.env:
        program["env"] = entry.env
    return Request(
        module=digest,
        export=entry.export,
        args=entry.args,
        program=program,
        limits=entry.limits,
        tenant=entry.tenant,
        priority=entry.priority,
        grant=entry.grant,
        on_exhausted=entry.on_exhausted,
        record=entry.record,
    )


class Planned(NamedTuple):
    """What a name in the configuration is to be set to."""

    cron: Cron
    request: Request
    catch_up: bool


async def plan(
    entries: Mapping[str, PeriodicConfig],
    module: Callable[[str], Awaitable[Module]],
    check: Callable[[Request], Awaitable[None]],
) -> dict[str, Planned]:
    """Return configured schedules as they are to be set.

    `module` loads what an entry names, `check` raises what submitting a request would. Raises `ConfigError`.
    """
    planned = {}
    for name, entry in entries.items():
        try:
            check_name("name", name, limit=100)
            request = entry_request(entry, (await module(entry.module)).digest)
            await check(request)
        except (WasmqError, OSError) as error:
            raise ConfigError(f"periodic.{name}: {error}") from None
        planned[name] = Planned(Cron(entry.cron, entry.timezone), request, entry.catch_up)
    return planned


class _Schedule:
    """One name. `next` is the firing that comes next, None until the store has said how far it had come."""

    def __init__(self, name: str, cron: Cron, request: Request, *, catch_up: bool) -> None:
        self.name = name
        self.cron = cron
        self.request = request
        self.catch_up = catch_up
        self.next: float | None = None


class Periodic:
    """Submits what fires. `submit` takes requests without waiting for room, and raises a `Refused`."""

    def __init__(self, *, store: Store, submit: Callable[[Sequence[Request]], Awaitable[Any]], clock: Clock) -> None:
        self._store = store
        self._submit = submit
        self._clock = clock
        self._schedules: dict[str, _Schedule] = {}
        self._bell = Bell()
        self._log = get_logger()

    def set(self, name: str, cron: Cron, request: Request, *, catch_up: bool) -> None:
        """Submit `request` whenever `cron` fires, instead of what was scheduled under this name before.

        With `catch_up` a firing that was missed while no daemon ran is made up for; only the last of several.
        """
        self._schedules[name] = _Schedule(name, cron, request, catch_up=catch_up)
        self._bell.ring()

    def remove(self, name: str) -> bool:
        """Fire no more under a name; returns whether it was scheduled."""
        return self._schedules.pop(name, None) is not None

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Fire until the scheduler stops."""
        task_status.started()
        while True:
            try:
                pause = await self.tick()
            except SchedulerClosed:
                return
            await self._bell.wait(pause)

    async def tick(self) -> float:
        """Submit what is due; returns for how many seconds there is nothing to do. Raises `SchedulerClosed`."""
        for schedule in list(self._schedules.values()):
            try:
                await self._look(schedule)
            except SchedulerClosed:
                raise
            except (StoreUnavailable, QueueFull) as error:
                self._log.warning("periodic.delayed", name=schedule.name, error=str(error))
                return _TRY_AGAIN
        now = self._clock.wall()
        upcoming = [schedule.next - now for schedule in self._schedules.values() if schedule.next is not None]
        return max(0.0, min(upcoming, default=_LOOK_AGAIN)) if upcoming else _LOOK_AGAIN

    async def _look(self, schedule: _Schedule) -> None:
        now = self._clock.wall()
        if schedule.next is None:
            schedule.next = schedule.cron.after(await self._begin(schedule, now))
        if schedule.next > now:
            return
        at = schedule.cron.last(schedule.next, now)
        fired = await self._store.fired(schedule.name)
        # Otherwise another daemon has been quicker.
        if fired is None or fired < at:
            await self._fire(schedule, at)
        schedule.next = schedule.cron.after(at)

    async def _begin(self, schedule: _Schedule, now: float) -> float:
        """Return the time up to which a schedule's firings are done with."""
        fired = await self._store.fired(schedule.name)
        if fired is None:
            await self._store.note_fired(schedule.name, now)
            return now
        # A clock that has been set back must not keep it from firing.
        return min(fired, now) if schedule.catch_up else now

    async def _fire(self, schedule: _Schedule, at: float) -> None:
        request = msgspec.structs.replace(schedule.request, key=f"periodic:{schedule.name}:{int(at)}")
        try:
            await self._submit([request])
        except (SchedulerClosed, StoreUnavailable, QueueFull):
            raise
        except Refused as error:
            # It would be refused again: the next firing is another matter.
            self._log.error("periodic.refused", name=schedule.name, at=int(at), error=str(error))
        else:
            self._log.info("periodic.fired", name=schedule.name, at=int(at), tenant=request.tenant)
        await self._store.note_fired(schedule.name, at)
