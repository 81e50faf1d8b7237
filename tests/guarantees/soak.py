"""The load of the soak: clients that do all there is to do, well and badly, and what the daemon weighs meanwhile."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

import wasmq

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterable

    from wasmq.client import RemoteModule

GUESTS = Path(__file__).parents[2] / "workers" / "guests"
_LIMITS = wasmq.Limits(fuel=10**8, memory="4MiB", timeout=60.0)
_SPIN = wasmq.Limits(fuel=10**12, memory="1MiB", timeout=60.0)
_LATE = wasmq.Limits(fuel=10**12, memory="1MiB", timeout=0.02)
_EMPTY = wasmq.Limits(fuel=50_000, timeout=60.0)


class Call(NamedTuple):
    """A call whose end is known: of which guest, what, with what, within what, and its status."""

    guest: str
    export: str | None
    args: tuple[Any, ...]
    limits: wasmq.Limits
    status: str


CALLS = (
    Call("mul.wat", "mul", (6, 7), _LIMITS, "succeeded"),
    Call("loop.wat", "burn", (90_000,), _LIMITS, "succeeded"),
    Call("loop.wat", "burn", (2_000_000,), _LIMITS, "succeeded"),
    Call("grow.wat", "grow", (40,), _LIMITS, "succeeded"),
    Call("wasi/hello.wasm", None, (), _LIMITS, "exited"),
    Call("components/hello.wasm", None, (), _LIMITS, "exited"),
    Call("traps.wat", "unreachable", (), _LIMITS, "trapped"),
    Call("traps.wat", "stack_overflow", (), _LIMITS, "trapped"),
    Call("grow.wat", "grow_until_refused", (8,), _LIMITS, "out_of_memory"),
    Call("loop.wat", "spin", (), _EMPTY, "out_of_fuel"),
    Call("loop.wat", "spin", (), _LATE, "timed_out"),
)


class Load:
    """One client's tasks; `done` counts what was answered as it must be, by what it was."""

    def __init__(self, client: wasmq.Client, choice: random.Random, tenant: str) -> None:
        self.done: Counter[str] = Counter()
        self._client = client
        self._choice = choice
        self._tenant = tenant
        self._modules: dict[str, RemoteModule] = {}
        self._fuel: dict[Call, int] = {}

    async def prepare(self) -> None:
        """Bring the guests."""
        for guest in sorted({call.guest for call in CALLS}):
            self._modules[guest] = await self._client.load(GUESTS / guest)

    async def run(self) -> None:
        """Do one thing after the other until cancelled."""
        kinds: tuple[Callable[[], Awaitable[None]], ...] = (
            self._one,
            self._many,
            self._cancelled,
            self._looks,
            self._refused,
        )
        while True:
            (kind,) = self._choice.choices(kinds, (10, 2, 2, 1, 1))
            await kind()

    async def _one(self) -> None:
        """Submit one call, and wait for it."""
        call = self._choice.choice(CALLS)
        module = self._modules[call.guest]
        job = await self._client.submit(module, call.export, *call.args, limits=call.limits, tenant=self._tenant)
        outcome = await job
        assert outcome.status == call.status, (call, outcome)
        if call.status in ("succeeded", "exited", "out_of_fuel"):
            assert outcome.fuel_used == self._fuel.setdefault(call, outcome.fuel_used), (call, outcome)
        self.done[call.status] += 1

    async def _many(self) -> None:
        """Have a batch of calls answered, in their order."""
        calls = [(number, number + 1) for number in range(self._choice.randint(1, 50))]
        found = [
            each.value async for each in self._client.map(self._modules["mul.wat"], "mul", calls, tenant=self._tenant)
        ]
        assert found == [first * second for first, second in calls]
        self.done["in a batch"] += len(calls)

    async def _cancelled(self) -> None:
        """Cancel a job that runs, or waits to."""
        delay = self._choice.choice((0.0, 0.0, 600.0))
        job = await self._client.submit(
            self._modules["loop.wat"], "spin", limits=_SPIN, tenant=self._tenant, delay=delay
        )
        assert await job.cancel()
        assert (await job).status == "cancelled"
        self.done["cancelled"] += 1

    async def _looks(self) -> None:
        """Ask what there is."""
        assert len(await self._client.jobs(limit=20)) <= 20
        await self._client.estimate(self._modules["loop.wat"], "burn")
        self.done["looked"] += 1

    async def _refused(self) -> None:
        """Ask for what there is not."""
        wrong = (
            (wasmq.UnknownExport, lambda: self._client.submit(self._modules["mul.wat"], "div", 1, 2)),
            (wasmq.InvalidArguments, lambda: self._client.submit(self._modules["mul.wat"], "mul", "six", 7)),
            (wasmq.InvalidModule, lambda: self._client.load(b"\0asm\1\0\0\0" + self._choice.randbytes(20))),
        )
        kind, ask = self._choice.choice(wrong)
        try:
            await ask()
        except kind:
            self.done["refused"] += 1
        else:
            raise AssertionError(f"this was to raise {kind.__name__}")


class Weight(NamedTuple):
    """What was done by some second, and what processes weighed then: resident bytes by process."""

    second: float
    done: int
    resident: dict[int, int]


def resident(pid: int) -> int:
    """Return the resident size of a process in bytes, without what it maps of files: that is the kernel's to drop."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1_024 * int(status.partition("RssAnon:")[2].split()[0])


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def weigh(pids: Iterable[int], loads: Iterable[Load], seconds: float) -> list[Weight]:
    """Weigh processes once a second for so many seconds."""
    pids, loads = list(pids), list(loads)
    weights = []
    started = anyio.current_time()
    while (now := anyio.current_time() - started) < seconds:
        done = sum(load.done.total() for load in loads)
        weights.append(Weight(now, done, {pid: resident(pid) for pid in pids}))
        await anyio.sleep(1.0)
    return weights


def thirds(weights: list[Weight]) -> list[float]:
    """Return how much was done in a second, in each third of the time."""
    cuts = [weights[round(part * (len(weights) - 1) / 3)] for part in range(4)]
    return [(then.done - first.done) / (then.second - first.second) for first, then in pairwise(cuts)]


def growth(weights: list[Weight], pid: int) -> float:
    """Return by how many bytes a process has grown, by the straight line through all weights (least squares)."""
    times = [weight.second for weight in weights]
    sizes = [weight.resident[pid] for weight in weights]
    middle, mean = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((each - middle) ** 2 for each in times)
    slope = sum((when - middle) * (size - mean) for when, size in zip(times, sizes, strict=True)) / spread
    return slope * (times[-1] - times[0])
