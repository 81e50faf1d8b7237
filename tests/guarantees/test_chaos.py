"""Every promise at once, in rounds: workers, store and clock are harmed, and after each round everything is looked at.

WASMQ_TEST_SEED repeats a run: what is submitted and who is harmed how; what it hits is the machine's choice.
"""

import asyncio
import itertools
import random
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager

import msgspec
import pytest
from chaos import KINDS, STUCK_AFTER, TENANTS, Harm, Load, Reference, Told
from chaos_judge import ATTEMPTS, Scene, judge, wrong
from clocks import NOON, SteppingClock
from faults import FaultyStore
from leaks import nothing_left
from postgres import drop_schema, make_schema

import wasmq
from wasmq import scheduler as scheduler_module
from wasmq.handles import JobHandle
from wasmq.job import Call, Caps, Job
from wasmq.ledger import Balance, Terms
from wasmq.store import JobRecord, open_store

A_LIFE = 25  # rounds that one scheduler lives through
MOST_JOBS = 24  # in one round


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where all temporary files of a test go."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


class Chaos:
    """Lives of schedulers, each on a store of its own, of the kind that `new_store` makes."""

    def __init__(self, config, new_store, seed, monkeypatch, at_once):
        self._at_once = at_once
        self.choice = random.Random(seed)
        self.harmed = Counter()
        self.ended = Counter()
        self.faults = 0
        self._new_store = new_store
        self._patch = monkeypatch
        self._clock = SteppingClock()
        settings = msgspec.structs.replace(config.scheduler, stuck_after=STUCK_AFTER, retry_backoff_max=0.5)
        store = msgspec.structs.replace(config.store, history=10**6, history_age=366 * 86_400.0)
        # Workers that are users of their own cannot be starved by who has not every right over them.
        sandbox = msgspec.structs.replace(config.sandbox, without=("user",))
        self._config = msgspec.structs.replace(config, scheduler=settings, store=store, sandbox=sandbox)
        # The harm to come, each kind once before any comes again.
        self._next = []

    async def life(self, rounds):
        """One scheduler, from its start to its end, which leaves nothing behind."""
        async with self._new_store() as url:
            await self._live(url, rounds)

    async def _live(self, url, rounds):
        def faulty(*args):
            self._store = FaultyStore(open_store(*args), self.choice)
            return self._store

        self._patch.setattr(scheduler_module, "open_store", faulty)
        async with wasmq.Scheduler(
            workers=2,
            store=url,
            config=self._config,
            tenants=TENANTS,
            max_attempts=ATTEMPTS,
            grace=0.0,
            clock=self._clock,
        ) as scheduler:
            load = Load(scheduler, self.choice)
            harm = Harm(load, scheduler, self._store, self._clock, self.choice)
            await load.prepare()
            for _ in range(rounds):
                await self._round(scheduler, load, harm)
            await load.ended(0)
            await judge(scheduler, self._store, load.told, load.reference)
            self.ended.update(told.handle.outcome.status for told in load.told.values())
            self.faults += self._store.faults

    async def _round(self, scheduler, load, harm):
        """Harm while jobs come in and run, mend, wait for what must end, and see that everything holds."""
        kinds = [self._harm() for _ in range(self.choice.choice(self._at_once))]
        print(" ".join(kinds), flush=True)
        await load.batch(self.choice.randint(1, MOST_JOBS // 2))
        async with asyncio.TaskGroup() as group:
            group.create_task(load.batch(self.choice.randint(1, MOST_JOBS // 2)))
            for kind in kinds:
                self.harmed[kind] += 1
                await getattr(harm, kind)()
            if self.choice.random() < 0.5:
                group.create_task(load.cancel_endless(1))
        harm.mend()
        # Whoever comes rings for those whose time has come by a clock that was set.
        await load.submit(self.choice.choice(list(KINDS)), "free")
        await load.ended(self.choice.randint(0, 2))
        await judge(scheduler, self._store, load.told, load.reference)

    def _harm(self):
        if not self._next:
            self._next = list(Harm.KINDS)
            self.choice.shuffle(self._next)
        return self._next.pop()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def new_store(request, tmp_path):
    """Make the URL of a store with nothing in it, for as long as it is used."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    numbers = itertools.count()

    @asynccontextmanager
    async def new():
        if server is not None:
            url = await make_schema(server)
            yield url
            await drop_schema(url)
        else:
            yield "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs-{next(numbers)}.db"

    return new


@pytest.mark.parametrize(
    ("rounds", "at_once"),
    [(len(Harm.KINDS) // 2, (2,)), pytest.param(500, (1, 1, 2, 3), marks=pytest.mark.slow)],
)
async def test_every_round_leaves_every_promise_kept(config, temporary, monkeypatch, seed, new_store, rounds, at_once):
    """Whatever is done to workers, store and clock: one outcome a job, exact bills, balanced books, nothing left."""
    chaos = Chaos(config, new_store, seed, monkeypatch, at_once)
    started = time.monotonic()
    done = 0
    while done < rounds:
        async with nothing_left([temporary]):
            await chaos.life(min(A_LIFE, rounds - done))
        done += min(A_LIFE, rounds - done)
    print(f"{rounds} rounds in {time.monotonic() - started:.0f} s: {dict(chaos.harmed)}, {dict(chaos.ended)}")
    assert set(chaos.harmed) == set(Harm.KINDS)
    assert chaos.faults > 0


JOB = Job(
    id="a",
    call=Call("m" * 64, "burn", (900,)),
    caps=Caps(1_000, 65_536, 1.0, 100, 1_000),
    tenant="paying",
    priority=0,
    key=None,
    submitted_at=NOON,
    due=NOON,
    order=0.0,
    cost=100.0,
)
GOOD = wasmq.Outcome(status="succeeded", fuel_used=7, attempts=1)
REFERENCE = {"short": Reference(None, b"", 7)}


def scene(**changes):
    """A scheduler with one job that has ended as it must, but for the changes."""
    record = JobRecord(msgspec.structs.replace(JOB, attempt=1), "finished", 1, GOOD)
    seen = Scene(
        records=[record],
        recorded={"a": [GOOD]},
        balances={"paying": Balance(granted=100, spent=7)},
        terms={"paying": Terms(budget=100)},
        counts={"queued": 0, "running": 0},
        waiting={},
        with_workers=frozenset(),
        booked=0,
        awaited=frozenset(),
        samples={
            'wasmq_jobs_submitted_total{tenant="paying"}': 1,
            'wasmq_jobs_finished_total{status="succeeded",tenant="paying"}': 1,
            'wasmq_fuel_consumed_total{tenant="paying"}': 7,
            'wasmq_jobs{state="queued"}': 0,
            'wasmq_jobs{state="running"}': 0,
        },
        unheard=0,
    )
    return seen._replace(**changes)


def told(outcome=GOOD):
    """What the client of that job knows."""
    handle = JobHandle("a", None, None, None)
    if outcome is not None:
        handle.settle(outcome)
    return {"a": Told(handle, "short", "paying", "k")}


def ended(**changes):
    """The record of a job that has ended otherwise."""
    outcome = msgspec.structs.replace(GOOD, **changes)
    return JobRecord(msgspec.structs.replace(JOB, attempt=1), "finished", outcome.attempts, outcome)


WAITS = JobRecord(JOB, "queued", 0, None)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"records": []}, "accepted and is not there"),
        ({"records": [*scene().records, *scene().records]}, "is there 2 times"),
        ({"recorded": {"a": [GOOD, GOOD]}}, "has 2 outcomes"),
        ({"recorded": {}}, "has 0 outcomes"),
        ({"records": [ended(fuel_used=8)]}, "another outcome than was told"),
        ({"records": [ended(attempts=4)]}, "was started 4 times"),
        ({"records": [ended(status="trapped")]}, "short job a: trapped"),
        ({"records": [ended(status="lost", fuel_used=0)]}, "short job a: lost"),
        ({"records": [ended(fuel_used=10**18)]}, "more than its cap"),
        ({"records": [WAITS]}, "nobody would be told"),
        ({"records": [WAITS]}, "after its outcome was recorded"),
        ({"with_workers": frozenset(), "records": [JobRecord(JOB, "running", 1, None)]}, "not what the workers have"),
        ({"balances": {"paying": Balance(granted=100, spent=8)}}, "spent is 8"),
        ({"balances": {"paying": Balance(granted=100, spent=7, reserved=5)}}, "reserved is 5"),
        ({"counts": {"queued": 1, "running": 0}}, "counts 1 queued"),
        ({"waiting": {"paying": 1}}, "counted as waiting"),
        ({"booked": 5}, "5 bytes are booked"),
        ({"samples": {**scene().samples, 'wasmq_fuel_consumed_total{tenant="paying"}': 8}}, "should be 7"),
        (
            {"samples": {**scene().samples, 'wasmq_jobs_submitted_total{tenant="paying"}': 0}},
            "1 submitted jobs are not",
        ),
        ({"samples": {**scene().samples, 'wasmq_jobs{state="queued"}': 1}}, "wasmq_jobs of queued is not 0"),
    ],
)
def test_the_judge_of_rounds_sees_what_is_wrong(changes, complaint):
    """A job that is missing, doubled, told wrongly, started too often, ended or billed wrongly, or counted wrongly."""
    assert wrong(scene(), told(), REFERENCE) == []
    assert complaint in "\n".join(wrong(scene(**changes), told(), REFERENCE))


def test_the_judge_of_rounds_sees_a_wrong_bill():
    """A bill that everybody agrees on and that is not what such a job costs is seen too."""
    dear = ended(fuel_used=8)
    changes = {"records": [dear], "recorded": {"a": [dear.outcome]}}
    assert "short job a: succeeded with 8 fuel" in "\n".join(wrong(scene(**changes), told(dear.outcome), REFERENCE))


def test_the_judge_of_rounds_sees_who_was_not_told():
    """An outcome that is recorded and that its caller still waits for is seen."""
    assert "another outcome than was told: None" in "\n".join(wrong(scene(), told(None), REFERENCE))
