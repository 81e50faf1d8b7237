"""The queue without processes: a million jobs of ten thousand tenants, on a clock that jumps from event to event.

What decides is the real thing: `Fairness` tags the jobs, `Queue` says who starts, `Ledger` says who may. Only the
guests are missing: a job takes its fuel divided by the speed of a worker. Most tenants have always work waiting; some
of those have a budget below their share; one in ten sends a job now and then, at half its share.

    python -m benchmarks.simulate --jobs 100000 --tenants 1000 --workers 100
"""

from __future__ import annotations

import argparse
import heapq
import random
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from benchmarks.common import RESULTS, figure, quantile
from wasmq.fairness import Fairness
from wasmq.job import Call, Caps, Job
from wasmq.ledger import Balance, Terms
from wasmq.store.accounts import Accounts
from wasmq.store.queue import Entry, Queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SPEED = 100_000_000  # fuel per second of one worker
SMALLEST = 1_000_000  # fuel of the cheapest job
LARGEST = 50 * SMALLEST  # fuel of the dearest job, which is every job's cap
SHAPE = 1.5  # of the Pareto distribution that the costs are drawn from: its variance is infinite
WEIGHTS = (1.0, 2.0, 4.0, 8.0)
AHEAD = 3  # jobs that a busy tenant has waiting
EXPORTS = 100  # different calls, whose costs are learnt
BUDGETED = 0.3  # of its share that a tenant's budget pays for
OCCASIONAL = 0.5  # of its share that a tenant which comes now and then wants
SECOND = 1_000_000  # microseconds

Kind: TypeAlias = Literal["busy", "budgeted", "occasional"]


class Tenant(msgspec.Struct):
    """One tenant, and the fuel it has had: `used` of all its jobs, `share` of those that ended during the rush."""

    name: str
    kind: Kind
    weight: float
    used: int = 0
    share: int = 0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came out. Times are in seconds of the simulation's clock but for `took`; `waits` are by kind of tenant."""

    tenants: list[Tenant]
    waits: dict[Kind, list[float]]
    balances: dict[str, Balance]
    terms: dict[str, Terms]
    jobs: int
    lasted: float
    took: float

    @property
    def index(self) -> float:
        """Jain's index of fuel by weight over the tenants that always had work waiting: 1 is perfectly fair."""
        return jain([each.share / each.weight for each in self.tenants if each.kind == "busy"])

    def problems(self) -> list[str]:
        """Return what is wrong with the books; nothing when they balance."""
        found = []
        for each in self.tenants:
            terms, balance = self.terms.get(each.name), self.balances.get(each.name)
            if terms is None or balance is None:
                continue
            assert terms.budget is not None
            assert terms.period is not None
            most = terms.burst + terms.budget * self.lasted * SECOND / terms.period
            if balance.spent != each.used:
                found.append(f"{each.name}: spent {balance.spent}, but its jobs used {each.used}")
            if balance.reserved or balance.running or balance.memory:
                found.append(f"{each.name}: something is held when all has ended")
            if not balance.spent <= balance.granted <= most + 1:
                found.append(f"{each.name}: granted {balance.granted}, of {most} at most, and spent {balance.spent}")
        return found


class Simulation:
    """One run. `jobs` are submitted in all, and all of them end."""

    def __init__(self, *, jobs: int, tenants: int, workers: int, seed: int) -> None:
        self._chance = random.Random(seed)
        self._tenants = {each.name: each for each in _make_tenants(tenants)}
        self._left = jobs
        self._number = 0
        self._workers = workers
        self._free = workers
        self._now = 0.0
        rate = workers * SPEED / sum(each.weight for each in self._tenants.values())
        self._terms = {
            each.name: Terms(budget=int(BUDGETED * rate * each.weight), period=SECOND, burst=LARGEST)
            for each in self._tenants.values()
            if each.kind == "budgeted"
        }
        # A Pareto variable's mean, but for the tail that is cut off.
        mean = SMALLEST * SHAPE / (SHAPE - 1)
        self._pace = OCCASIONAL * rate / mean  # jobs per second and weight
        self._fairness = Fairness(unknown_cost=mean)
        self._accounts = Accounts(self._terms)
        self._queue: Queue[Entry] = Queue(self._accounts.start)
        self._ends: list[tuple[float, int, Entry, int]] = []
        self._arrivals: list[tuple[float, str]] = []
        self._waits: dict[Kind, list[float]] = defaultdict(list)

    def run(self) -> Result:
        """Go on from event to event until all jobs have ended."""
        began = time.perf_counter()
        submitted = self._left
        for tenant in self._tenants.values():
            if tenant.kind == "occasional":
                self._come_later(tenant)
            else:
                for _ in range(AHEAD):
                    self._submit(tenant)
        self._start()
        while (now := self._next()) is not None:
            self._now = now
            while self._ends and self._ends[0][0] <= now:
                self._end(*heapq.heappop(self._ends)[2:])
            while self._arrivals and self._arrivals[0][0] <= now:
                tenant = self._tenants[heapq.heappop(self._arrivals)[1]]
                self._submit(tenant)
                self._come_later(tenant)
            self._start()
        return Result(
            tenants=list(self._tenants.values()),
            waits=dict(self._waits),
            balances=dict(self._accounts.ledger.balances),
            terms=self._terms,
            jobs=submitted - self._left,
            lasted=self._now,
            took=time.perf_counter() - began,
        )

    def _next(self) -> float | None:
        """Return when something happens next."""
        times = [heap[0][0] for heap in (self._ends, self._arrivals) if heap]
        if self._free and (due := self._queue.next_due(self._now)) is not None:
            times.append(due)
        return min(times, default=None)

    def _submit(self, tenant: Tenant) -> None:
        if not self._left:
            return
        self._left -= 1
        self._number += 1
        export = f"export-{self._number % EXPORTS}"
        cost = self._fairness.expect(tenant.name, "module", export)
        job = Job(
            id=str(self._number),
            call=Call("module", export),
            caps=Caps(LARGEST, 65_536, 60.0, 0),
            tenant=tenant.name,
            priority=0,
            key=None,
            submitted_at=self._now,
            due=self._now,
            order=self._fairness.tag(tenant.name, tenant.weight, cost),
            cost=cost,
        )
        self._queue.enter(Entry(job, self._number, self._now), self._now)

    def _come_later(self, tenant: Tenant) -> None:
        if self._left:
            pause = self._chance.expovariate(self._pace * tenant.weight)
            heapq.heappush(self._arrivals, (self._now + pause, tenant.name))
        else:
            self._arrivals.clear()

    def _start(self) -> None:
        """Give the free workers jobs, and replace those of the tenants that have always work waiting."""
        if not self._free:
            return
        claimed = self._queue.claim(self._free, self._now)
        self._accounts.keep()
        self._free -= len(claimed)
        for entry in claimed:
            job = entry.job
            self._fairness.started(job.order, job.tenant)
            tenant = self._tenants[job.tenant]
            self._waits[tenant.kind].append(self._now - job.submitted_at)
            used = min(LARGEST, int(SMALLEST * self._chance.paretovariate(SHAPE)))
            heapq.heappush(self._ends, (self._now + used / SPEED, int(job.id), entry, used))
            if tenant.kind != "occasional":
                self._submit(tenant)

    def _end(self, entry: Entry, used: int) -> None:
        job = entry.job
        shift = self._fairness.shift(job.tenant, job.cost, used)
        if self._accounts.end(job, used):
            self._accounts.keep()
            self._queue.free(job.tenant)
        self._queue.shift(job.tenant, shift)
        self._queue.leave(entry)
        self._fairness.settled(job.tenant, job.cost, used)
        self._fairness.learn(job.tenant, job.call.module, job.call.export, used)
        self._free += 1
        tenant = self._tenants[job.tenant]
        tenant.used += used
        if self._left:
            tenant.share += used


def jain(values: Sequence[float]) -> float:
    """Return Jain's fairness index (Jain, Chiu, Hawe 1984): 1 when all values are equal, 1/n when one has all."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def _make_tenants(count: int) -> Iterable[Tenant]:
    for number in range(count):
        kind: Kind = "occasional" if number % 10 == 9 else "budgeted" if number % 10 == 4 else "busy"
        yield Tenant(f"tenant-{number}", kind, WEIGHTS[number // 10 % len(WEIGHTS)])


def _page(result: Result) -> str:
    by_weight = defaultdict(list)
    for each in result.tenants:
        if each.kind == "busy":
            by_weight[each.weight].append(each.share / each.weight)
    everyone = [share for shares in by_weight.values() for share in shares]
    mean = sum(everyone) / len(everyone)
    took = f"{result.took:.0f} s ({figure(result.took / result.jobs, 'seconds')} each)"
    lines = [
        f"{result.jobs} jobs of {len(result.tenants)} tenants: {result.lasted:.1f} s in {took}",
        f"Jain's index of fuel by weight, tenants with work waiting: {result.index:.4f}",
        "",
        "| weight | tenants | fuel by weight: mean | p1 | p99 |",
        "|---|---|---|---|---|",
    ]
    for weight, shares in sorted(by_weight.items()):
        cells = [sum(shares) / len(shares), quantile(shares, 0.01), quantile(shares, 0.99)]
        lines.append(f"| {weight:g} | {len(shares)} | " + " | ".join(f"{cell / mean:.3f}" for cell in cells) + " |")
    lines += ["", "| tenants | jobs | wait p50 | p99 |", "|---|---|---|---|"]
    for kind, waits in sorted(result.waits.items()):
        cells = [figure(quantile(waits, share), "seconds") for share in (0.5, 0.99)]
        lines.append(f"| {kind} | {len(waits)} | {cells[0]} | {cells[1]} |")
    problems = result.problems()
    lines += ["", *(problems or [f"The books of {len(result.balances)} accounts balance."])]
    return "\n".join(lines)


def main() -> int:
    """Return 1 when the books do not balance."""
    from benchmarks import plot

    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.jobs < 1 or options.tenants < 10 or options.workers < 1:
        parser.error("--jobs and --workers must be at least 1, --tenants at least 10")
    result = Simulation(**vars(options)).run()
    print(_page(result))
    plot.shares(
        RESULTS / "shares.svg",
        [(each.weight, each.share, each.kind) for each in result.tenants],
        title=f"{len(result.tenants)} tenants, {result.jobs} jobs: Jain's index {result.index:.4f}",
    )
    return 1 if result.problems() else 0


if __name__ == "__main__":
    raise SystemExit(main())
