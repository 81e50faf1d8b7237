"""Whose turn it is, as a pure model: no process, no engine, no clock."""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wasmq_worker.protocol import Assignment
from wasmq_worker.shares import START_COST, Shares

if TYPE_CHECKING:
    from collections.abc import Callable

QUANTA = st.sampled_from([1_000, 25_000, 100_000, 10_000_000])
WEIGHTS = st.sampled_from([0.1, 0.5, 1.0, 1.5, 3.0, 10.0])


class Job(NamedTuple):
    """All that `Shares` looks at in an instance."""

    assignment: Assignment

    @property
    def share(self) -> int:
        return self.assignment.share


class Line:
    """A `Shares` under test, what each share has spent (fuel), and what it was charged (starts on top)."""

    def __init__(self, quantum: int) -> None:
        self.quantum = quantum
        self.shares = Shares(quantum)
        self.fuel: Counter[int] = Counter()
        self.charged: Counter[int] = Counter()
        self.weights: dict[int, float] = {}
        self._tickets = itertools.count()

    def add(self, share: int, weight: float = 1.0, count: int = 1) -> list[Job]:
        """Let new jobs wait in a share."""
        self.weights[share] = weight
        jobs = [Job(_assignment(next(self._tickets), share, weight)) for _ in range(count)]
        for job in jobs:
            self.shares.add(job)  # type: ignore[arg-type]
        return jobs

    def turn(self, spend: Callable[[Job, bool], int | None] = lambda job, first: None) -> tuple[Job, bool]:
        """Take a turn: `spend` gives the fuel with which a job ends, or None if it spends a quantum and wants more."""
        job, first = self.shares.take()
        fuel = spend(job, first)  # type: ignore[arg-type]
        spent = self.quantum if fuel is None else fuel
        self.shares.charge(job, spent, first=first, more=fuel is None)
        self.fuel[job.assignment.share] += spent
        self.charged[job.assignment.share] += spent + START_COST if first else spent
        return job, first  # type: ignore[return-value]

    def gained(self, share: int, before: Counter[int]) -> float:
        """Return by how much a share was charged more than share 0 since `before`, each by its weight."""
        return (self.charged[share] - before[share]) / self.weights[share] - (
            self.charged[0] - before[0]
        ) / self.weights[0]


def _assignment(ticket: int, share: int, weight: float) -> Assignment:
    return Assignment(ticket, 0, 0, (), 10**12, 0, 60.0, 0, share, weight)


def _all_underway(line: Line) -> None:
    """Let every waiting job have its first turn."""
    while line.shares.fresh:
        line.turn()


@given(
    quantum=QUANTA,
    weights=st.lists(WEIGHTS, min_size=2, max_size=6),
    hogs=st.lists(st.integers(1, 5), min_size=6, max_size=6),
    warm=st.integers(0, 50),
)
def test_hogs_get_fuel_by_their_weights(quantum: int, weights: list[float], hogs: list[int], warm: int) -> None:
    """Over any run in which every share has work, two shares differ by at most a quantum each, divided by the weight.

    That is the bound of start-time fair queueing; it holds however many instances a share has and however long it ran.
    """
    line = Line(quantum)
    for share, (weight, count) in enumerate(zip(weights, hogs, strict=False)):
        line.add(share, weight, count)
    _all_underway(line)
    waiting = set(line.weights)  # until the costs of the starts are behind everyone
    while waiting:
        waiting.discard(line.turn()[0].share)
    for _ in range(warm):
        line.turn()
    before = Counter(line.fuel)
    bound = 2 * quantum / min(weights)
    for _ in range(400):
        line.turn()
        served = [(line.fuel[share] - before[share]) / weight for share, weight in enumerate(weights)]
        assert max(served) - min(served) <= bound * (1 + 1e-9)


@given(data=st.data(), quantum=QUANTA, weights=st.lists(WEIGHTS, min_size=2, max_size=5))
@settings(max_examples=50)
def test_mixed_work_is_charged_by_weights(data: st.DataObject, quantum: int, weights: list[float]) -> None:
    """With jobs of any size, short or long, always waiting, what shares are charged goes by their weights.

    The charge is the fuel, and for a first turn the cost of a start on top.
    """
    line = Line(quantum)
    for share, weight in enumerate(weights):
        line.add(share, weight, 2)
    endings = itertools.cycle(data.draw(st.lists(st.none() | st.integers(0, quantum), min_size=20, max_size=20)))
    bound = 2 * (quantum + START_COST) / min(weights)
    for _ in range(300):
        fuel = next(endings)
        job, _ = line.turn(lambda job, first, fuel=fuel: fuel)  # type: ignore[misc]
        if fuel is not None:
            line.add(job.share, weights[job.share])
        served = [line.charged[share] / weight for share, weight in enumerate(weights)]
        assert max(served) - min(served) <= bound * (1 + 1e-9)


@given(shares=st.integers(1, 4), count=st.integers(1, 12))
def test_round_robin_within_a_share(shares: int, count: int) -> None:
    """Within a share every instance has a turn before any has two, and the order stays the same."""
    line = Line(100_000)
    for share in range(shares):
        line.add(share, 1.0, count)
    _all_underway(line)
    turns: defaultdict[int, list[int]] = defaultdict(list)
    for _ in range(shares * count * 4):
        job, first = line.turn()
        assert not first
        turns[job.share].append(job.assignment.ticket)
    for order in turns.values():
        assert len(set(order[:count])) == min(count, len(order))
        assert all(ticket == order[place % count] for place, ticket in enumerate(order))


@given(
    quantum=QUANTA,
    hogs=st.integers(1, 300),
    others=st.integers(0, 4),
    warm=st.integers(0, 40),
    newcomer=st.booleans(),
)
@settings(max_examples=60)
def test_a_fresh_job_waits_for_few_turns_beside_any_number_of_hogs(
    quantum: int, hogs: int, others: int, warm: int, newcomer: bool
) -> None:
    """A job's first turn comes after at most two of its own share's and a few of each other share's, never one a hog.

    It may have to let one instance of its own share go first, and each time the others catch up with what their share
    is behind: a quantum and the cost of a start.
    """
    line = Line(quantum)
    for share in range(others + 1):
        line.add(share, 1.0, hogs)
    _all_underway(line)
    for _ in range(warm):
        line.turn()
    (fresh,) = line.add(99 if newcomer else 0)
    waited = 0
    while line.turn()[0] is not fresh:
        waited += 1
    # Of each other share: what it is behind ours in turns, one for a tie, and after our ring's turn the same again.
    behind = (quantum + START_COST) // quantum + 1
    assert waited <= 1 + (others + newcomer) * 2 * behind


@given(
    quantum=QUANTA,
    hogs=st.integers(1, 4),
    sizes=st.lists(st.floats(0, 1), min_size=1, max_size=8),
    burst=st.integers(1, 5),
)
@settings(max_examples=60)
def test_a_flood_of_short_jobs_does_not_starve_the_long_ones(
    quantum: int, hogs: int, sizes: list[float], burst: int
) -> None:
    """Between two turns of a share's long instances, first turns take a quantum and one job more, and no more.

    So long ones keep about half of their share, however fast short ones come.
    """
    line = Line(quantum)
    line.add(0, 1.0, hogs)
    _all_underway(line)
    line.turn()
    costs = itertools.cycle(int(size * quantum) for size in sizes)
    since, rings = 0, 0
    for _ in range(500):
        line.add(0, 1.0, burst)
        job, first = line.shares.take()
        fuel = next(costs) if first else quantum
        line.shares.charge(job, fuel, first=first, more=not first)
        if first:
            since += fuel + START_COST
            assert since <= quantum + quantum + START_COST
        else:
            since = 0
            rings += 1
    assert rings >= 500 // (quantum // START_COST + 3)


@given(quantum=QUANTA, weight=WEIGHTS, idle=st.integers(0, 300), seen=st.booleans())
def test_an_idle_share_saves_up_nothing(quantum: int, weight: float, idle: int, seen: bool) -> None:
    """A share that comes back after a long time, or for the first time, gets its share from then on, no more."""
    line = Line(quantum)
    line.add(0, 1.0, 2)
    if seen:
        line.add(1, weight)
        for _ in range(4):
            line.turn(lambda job, first: quantum if job.share == 1 else None)
    for _ in range(idle):
        line.turn(lambda job, first: quantum if job.share == 1 else None)
    while line.shares.waiting > 2:
        line.turn(lambda job, first: quantum if job.share == 1 else None)
    before = Counter(line.charged)
    line.add(1, weight, 2)
    slack = (quantum + START_COST) * (1 + 1 / weight)
    for _ in range(200):
        line.turn()
        assert line.gained(1, before) <= slack * (1 + 1e-9)


@given(quantum=QUANTA, weight=WEIGHTS)
def test_leaving_and_coming_back_pays_nothing(quantum: int, weight: float) -> None:
    """A share that only ever has one short job, and is gone between two, gets no more than its share of fuel."""
    line = Line(quantum)
    line.add(0, 1.0)
    slack = (quantum + START_COST) * (1 + 1 / weight)
    _all_underway(line)
    before = Counter(line.charged)
    waits = False
    for _ in range(300):
        if not waits:
            line.add(1, weight)
            waits = True
        job, _ = line.turn(lambda job, first: quantum if job.share == 1 else None)
        waits = waits and job.share != 1
        assert line.gained(1, before) <= slack * (1 + 1e-9)


def test_a_weight_counts_from_the_job_that_brings_it() -> None:
    """A share's weight is that of the job that came last; running shares are divided anew from there."""
    line = Line(100_000)
    line.add(0)
    line.add(1)
    _all_underway(line)
    line.add(1, 3.0)
    _all_underway(line)
    before = Counter(line.fuel)
    for _ in range(400):
        line.turn()
    assert line.fuel[0] - before[0] == pytest.approx(100 * line.quantum, abs=2 * line.quantum)
    assert line.fuel[1] - before[1] == pytest.approx(300 * line.quantum, abs=2 * line.quantum)


def test_many_shares_that_come_and_go_leave_no_records() -> None:
    """What is kept of shares without work is bounded, however many there have been."""
    line = Line(100_000)
    line.add(0)
    for share in range(1, 20_000):
        line.add(share)
        while line.turn(lambda job, first: 10 if job.share else None)[0].share != share:
            pass
        line.turn()
        assert len(line.shares._shares) <= 1_100


def test_a_debt_is_not_forgotten_with_the_records() -> None:
    """A share that owes does not get rid of it when the records of thousands of others are dropped."""
    line = Line(100_000)
    line.add(0)
    line.add(1, 0.0001)
    _all_underway(line)
    # Share 1's turn counts ten thousandfold; it ends here and comes back behind thousands of short shares.
    while line.turn(lambda job, first: 100_000 if job.share == 1 and not first else None)[0].share != 1:
        pass
    for share in range(2, 5_000):
        line.add(share)
        line.turn(lambda job, first: 10 if job.share else None)
    (late,) = line.add(1, 0.0001)
    assert all(line.turn()[0] is not late for _ in range(1_000))


class SharesMachine(RuleBasedStateMachine):
    """Any sequence of adding, taking, charging and removing, beside a model of two queues a share."""

    def __init__(self) -> None:
        super().__init__()
        self.tickets = itertools.count()
        self.fresh: defaultdict[int, OrderedDict[int, Any]] = defaultdict(OrderedDict)
        self.ring: defaultdict[int, OrderedDict[int, Any]] = defaultdict(OrderedDict)

    @initialize(quantum=QUANTA)
    def start(self, quantum: int) -> None:
        self.quantum = quantum
        self.shares = Shares(quantum)

    @rule(share=st.integers(0, 3), weight=WEIGHTS, count=st.integers(1, 3))
    def add(self, share: int, weight: float, count: int) -> None:
        for _ in range(count):
            job = Job(_assignment(next(self.tickets), share, weight))
            self.shares.add(job)  # type: ignore[arg-type]
            self.fresh[share][job.assignment.ticket] = job

    @precondition(lambda self: self.waiting())
    @rule(more=st.booleans(), part=st.floats(0, 1))
    def turn(self, more: bool, part: float) -> None:
        job, first = self.shares.take()
        assignment = job.assignment
        queue = (self.fresh if first else self.ring)[assignment.share]
        assert next(iter(queue)) == assignment.ticket, "not the one that waited longest of its kind"
        del queue[assignment.ticket]
        self.shares.charge(job, self.quantum if more else int(part * self.quantum), first=first, more=more)
        if more:
            self.ring[assignment.share][assignment.ticket] = job

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        queues = [queue for queue in (*self.fresh.values(), *self.ring.values()) if queue]
        queue = data.draw(st.sampled_from(queues))
        job = queue.pop(data.draw(st.sampled_from(sorted(queue))))
        self.shares.remove(job)

    def waiting(self) -> int:
        return sum(map(len, (*self.fresh.values(), *self.ring.values())))

    @invariant()
    def counts_agree(self) -> None:
        """`waiting` and `fresh` are what the model counts."""
        if hasattr(self, "shares"):
            assert self.shares.waiting == self.waiting()
            assert self.shares.fresh == sum(map(len, self.fresh.values()))

    def teardown(self) -> None:
        """Every job that waits is taken in the end, once."""
        while self.waiting():
            self.turn(more=False, part=0.5)
            self.counts_agree()


SharesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
test_any_sequence = SharesMachine.TestCase
