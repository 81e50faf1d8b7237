"""What the chaos rounds run and hurt: jobs whose ends are known, and harm done to workers, store and clock."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from watching import workers

import wasmq
from wasmq.errors import StoreUnavailable

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator

    from clocks import SteppingClock
    from faults import Fault, FaultyStore

GUESTS = Path(__file__).parents[2] / "workers" / "guests"
STUCK_AFTER = 3.0
"""Seconds of silence after which a worker is killed here."""
PATIENCE = 120.0
"""Seconds after which whatever is waited for is not going to happen."""
HOUR = 3_600.0
_AGAIN = 0.01  # seconds until a store that failed is asked again
_LONG = wasmq.Limits(fuel=10**9, memory="4MiB", timeout=600.0)
_ENDLESS = wasmq.Limits(fuel=10**12, memory="1MiB", timeout=600.0)


class Kind(NamedTuple):
    """A job whose end is known: file, export, arguments, options and the statuses that it may have."""

    file: str
    export: str | None
    args: tuple[Any, ...]
    options: dict[str, Any]
    ends: frozenset[str]


def _kind(file: str, export: str | None, *args: Any, ends: str = "succeeded", **options: Any) -> Kind:
    options.setdefault("limits", _LONG)
    return Kind(file, export, args, options, frozenset(ends.split("|")))


KINDS = {
    "short": _kind("loop.wat", "burn", 900),
    "some turns": _kind("loop.wat", "burn", 900_000),
    "long": _kind("loop.wat", "burn", 9_000_000),
    "value": _kind("fib.wat", "fib", 20),
    "memory": _kind("grow.wat", "grow", 40),
    "program": _kind("wasi/hello.wasm", None, ends="exited"),
    "trap": _kind("traps.wat", "unreachable", ends="trapped"),
    "recursion": _kind("traps.wat", "stack_overflow", ends="trapped"),
    "starved": _kind("loop.wat", "spin", ends="out_of_fuel", limits=wasmq.Limits(fuel=250_000, timeout=600.0)),
    "late": _kind("loop.wat", "spin", ends="timed_out", limits=wasmq.Limits(fuel=10**12, timeout=0.05)),
    "delayed": _kind("loop.wat", "burn", 1_800, delay=0.05),
    # The clock may be set past it.
    "by a deadline": _kind("loop.wat", "burn", 2_700, ends="succeeded|timed_out", deadline=HOUR / 2),
}
TENANTS = {
    "paying": wasmq.Tenant(fuel_budget=10**18, weight=2.0),
    "narrow": wasmq.Tenant(max_running=2, fuel_budget=10**15),
    "free": wasmq.Tenant(),
}


class Reference(NamedTuple):
    """What a kind of job comes to when nobody harms anything."""

    value: Any
    stdout: bytes
    fuel_used: int


class Told(NamedTuple):
    """A job that was accepted, and what kind it is of; `endless` ones end when they are cancelled."""

    handle: wasmq.JobHandle
    kind: str
    tenant: str
    key: str


ENDLESS = "endless"


async def insist(work: Callable[[], Awaitable[Any]]) -> Any:
    """Return what a store says in the end, however often it fails before. For callers that know what they do twice."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreUnavailable):
                return await work()
            await asyncio.sleep(_AGAIN)


class Load:
    """Submits jobs of all kinds to a scheduler, for all tenants, and remembers them."""

    def __init__(self, scheduler: wasmq.Scheduler, choice: random.Random) -> None:
        self.told: dict[str, Told] = {}
        self.reference: dict[str, Reference] = {}
        self._scheduler = scheduler
        self._choice = choice
        self._modules: dict[str, wasmq.Module] = {}
        self._number = 0

    async def prepare(self) -> None:
        """Load the guests, and see what each kind comes to."""
        for name, kind in KINDS.items():
            if kind.file not in self._modules:
                self._modules[kind.file] = await self._scheduler.load(GUESTS / kind.file)
            told = await self.submit(name, "paying")
            outcome = await told.handle
            assert outcome.status in kind.ends, (name, outcome)
            self.reference[name] = Reference(
                outcome.value if outcome.values else None, outcome.stdout, outcome.fuel_used
            )

    async def submit(self, kind: str, tenant: str) -> Told:
        """Submit one job, under its key again and again until it is accepted, and now and then once more."""
        self._number += 1
        key = f"job-{self._number}"
        one = KINDS.get(kind, _kind("loop.wat", "spin", limits=_ENDLESS))

        async def submit() -> wasmq.JobHandle:
            module = self._modules[one.file]
            return await self._scheduler.submit(module, one.export, *one.args, tenant=tenant, key=key, **one.options)

        handle = await insist(submit)
        if self._choice.random() < 0.1:
            assert (await insist(submit)).id == handle.id, "a key gave two jobs"
        told = self.told[handle.id] = Told(handle, kind, tenant, key)
        return told

    async def batch(self, count: int) -> None:
        """Submit so many jobs, one after the other."""
        for _ in range(count):
            kind = self._choice.choice([*KINDS, *KINDS, ENDLESS])
            # One that does not end would keep the narrow tenant's others from starting, as it must.
            tenants = [name for name in TENANTS if kind != ENDLESS or name != "narrow"]
            await self.submit(kind, self._choice.choice(tenants))

    async def cancel_endless(self, spare: int) -> None:
        """Cancel the jobs that do not end by themselves, all but so many."""
        unfinished = [told for told in self.told.values() if told.kind == ENDLESS and told.handle.outcome is None]
        for told in unfinished[: max(0, len(unfinished) - spare)]:
            await insist(told.handle.cancel)

    async def ended(self, spare: int) -> None:
        """Return once everything has ended but `spare` endless jobs."""
        await self.cancel_endless(spare)
        going = [told for told in self.told.values() if told.handle.outcome is None]
        spared = [told.handle.id for told in going if told.kind == ENDLESS][-spare:] if spare else []
        waited = [told for told in going if told.handle.id not in spared]
        try:
            async with asyncio.timeout(PATIENCE):
                for told in waited:
                    await told.handle
        except TimeoutError:
            left = [await self._where(told) for told in waited if told.handle.outcome is None]
            raise AssertionError(f"not ended within {PATIENCE:.0f} s: {left}") from None

    async def _where(self, told: Told) -> str:
        """Say why a job has not ended."""
        record = await self._scheduler.job(told.handle.id)
        held = "with a worker" if self._scheduler._pool.holds(record.id) else "not with a worker"
        wait = record.job.due - self._scheduler._clock.wall()
        return f"{told.kind} of {told.tenant}, {record.state}, {held}, due in {wait:.3f} s, {record.job}"


class Harm:
    """Does harm, one kind a method; what lasts is undone by `mend`. Draws from `choice` alone."""

    KINDS = (
        "kill",
        "kill_all",
        "stop",
        "stop_and_continue",
        "slow_down",
        "starve",
        "store_raises",
        "store_is_slow",
        "store_loses_answers",
        "clock_forward",
        "clock_back",
        "stand_still",
    )

    def __init__(
        self, load: Load, scheduler: wasmq.Scheduler, store: FaultyStore, clock: SteppingClock, choice: random.Random
    ) -> None:
        self._load = load
        self._scheduler = scheduler
        self._store = store
        self._clock = clock
        self._choice = choice
        self._back = 0.0

    async def kill(self) -> None:
        """Kill a worker."""
        for pid in self._one():
            _signal(pid, signal.SIGKILL)

    async def kill_all(self) -> None:
        """Kill every worker."""
        for pid in workers():
            _signal(pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Stop a worker for good: it is up to the scheduler to notice."""
        for pid in self._one():
            _signal(pid, signal.SIGSTOP)

    async def stop_and_continue(self) -> None:
        """Stop a worker, and let it go on about when the scheduler has had enough of it, or before."""
        for pid in self._one():
            _signal(pid, signal.SIGSTOP)
            await asyncio.sleep(self._choice.choice((0.05, 0.5, STUCK_AFTER)) * self._choice.uniform(0.8, 1.2))
            _signal(pid, signal.SIGCONT)

    async def slow_down(self) -> None:
        """Let a worker run only in short pieces for a while."""
        for pid in self._one():
            for _ in range(self._choice.randint(2, 10)):
                _signal(pid, signal.SIGSTOP)
                await asyncio.sleep(self._choice.uniform(0.0, 0.08))
                _signal(pid, signal.SIGCONT)
                await asyncio.sleep(self._choice.uniform(0.0, 0.02))

    async def starve(self) -> None:
        """Let a worker have hardly more memory than it has now, and jobs come in meanwhile."""
        for pid in self._one():
            with suppress(ProcessLookupError, FileNotFoundError):
                most = _mapped(pid) + self._choice.choice((0, 2**16, 2**20, 2**22))
                resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
            await self._load.batch(8)

    async def store_raises(self) -> None:
        """Let the store be away."""
        self._fail("raises")

    async def store_is_slow(self) -> None:
        """Let the store take its time."""
        self._fail("is slow")

    async def store_loses_answers(self) -> None:
        """Let the store do what it is told and not say so."""
        self._fail("loses answers")

    async def clock_forward(self) -> None:
        """Set the clock forward."""
        self._clock.step(self._choice.choice((1.0, 60.0, HOUR)))

    async def clock_back(self) -> None:
        """Set the clock back, and right again by `mend`: until then, whoever is to wait until a time waits longer."""
        step = self._choice.choice((1.0, 60.0, HOUR))
        self._back += step
        self._clock.step(-step)

    async def stand_still(self) -> None:
        """Let the scheduler's own process do nothing for longer than a worker may be silent."""
        time.sleep(STUCK_AFTER * 1.2)  # noqa: ASYNC251

    def mend(self) -> None:
        """Undo what lasts, but for workers that stand still."""
        self._store.heal()
        self._clock.step(self._back)
        self._back = 0.0
        for pid in workers():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _fail(self, fault: Fault) -> None:
        self._store.fail(fault, self._choice.randint(1, 12))

    def _one(self) -> Iterator[int]:
        """Yield a worker that is at work, if there is one: one that starts has half a minute to do so."""
        crew = self._scheduler._crew._workers.values()
        if found := [worker.child.pid for worker in crew if worker.ready.is_set() and worker.child is not None]:
            yield self._choice.choice(found)


def _mapped(pid: int) -> int:
    """Return the address space of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
