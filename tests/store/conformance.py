"""What every store must do, written against the `Store` protocol alone.

A store's own tests subclass `StoreContract` and give it an `open_store` fixture. The clock is virtual: nothing here
waits.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from clocks import NOON, VirtualClock

from wasmq.config import StoreConfig
from wasmq.errors import KeyConflict
from wasmq.estimate import Estimator
from wasmq.fairness import Fairness
from wasmq.job import Call, Caps, Job, Outcome
from wasmq.store import Finished, SharedStore, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wasmq.clock import Clock

    Opener = Callable[[StoreConfig, Clock], Awaitable[Store]]

SUCCEEDED = Outcome(status="succeeded", values=(8, -0.5, b"v" * 16), fuel_used=4, attempts=1)
TRAPPED = Outcome(status="trapped", error="trapped: unreachable", fuel_used=2, attempts=1)
CANCELLED = Outcome(status="cancelled", error="cancelled before it started")


def make_job(name: str, clock: Clock, **fields: Any) -> Job:
    """A job as the scheduler would put it now; `delay` in seconds, any field of `Job` by its name."""
    now = clock.wall()
    delay = fields.pop("delay", 0.0)
    plain: dict[str, Any] = {
        "call": Call("m" * 64, "f", (1, 0.5, b"x" * 16)),
        "caps": Caps(1_000, 65_536, 1.0, 100, 1_000),
        "tenant": "default",
        "priority": 0,
        "key": None,
        "submitted_at": now,
        "due": now + delay,
        "order": 0.0,
        "cost": 100.0,
    }
    return Job(id=name, **{**plain, **fields})


def names(jobs: list[Job]) -> list[str]:
    """The ids of jobs, in their order."""
    return [job.id for job in jobs]


async def settled(store: Store) -> None:
    """Return when a store that puts off its counting and forgetting has done them."""
    if isinstance(store, SharedStore):
        await store.tend()


class StoreContract:
    """The contract, one promise a test. `open_store` takes a `StoreConfig` and a clock, and gives an open store."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        """The clock of the store under test."""
        return VirtualClock()

    @pytest.fixture
    async def store(self, open_store: Opener, clock: VirtualClock) -> Store:
        """An empty store with room for history."""
        return await open_store(StoreConfig(), clock)

    async def test_what_calls_have_cost_can_be_recalled(self, open_store):
        """After a restart the newest finished jobs say again what each export costs, over any number of pages."""
        clock = VirtualClock()
        store = await open_store(StoreConfig(), clock)
        costs = [(f"j{n:03}", n + 1, "acme" if n % 2 else "other") for n in range(50)]
        await store.put([make_job(name, clock, tenant=tenant) for name, _, tenant in costs])
        await store.put([make_job("x", clock, call=Call("m" * 64, "g")), make_job("y", clock, order=1.0)])
        fuel = {name: used for name, used, _ in costs} | {"x": 7}
        claimed = await store.claim(51, clock.wall())
        await store.finish(
            [Finished(job.id, job.attempt, Outcome(status="succeeded", fuel_used=fuel[job.id])) for job in claimed]
        )
        estimator = Estimator(engine="native", workers=1, fairness=Fairness(1.0), store=store)
        await estimator.recall()
        found = estimator.estimate("m" * 64, "f", tenant=None, most=10**6)
        assert (found.outcomes, found.fuel_p50, found.fuel_p99, found.fuel_max) == (50, 25, 50, 50)
        found = estimator.estimate("m" * 64, "f", tenant="acme", most=10**6)
        assert (found.outcomes, found.fuel_p50, found.fuel_max, found.fuel_cap) == (25, 26, 50, 75)
        assert estimator.estimate("m" * 64, "g", tenant=None, most=10**6).fuel_max == 7
        assert estimator.estimate("m" * 64, "h", tenant=None, most=10**6).fuel_cap is None

    async def test_a_job_comes_out_as_it_went_in(self, store, clock):
        """Every field is kept exactly, values of all types and text of all scripts included."""
        job = make_job(
            "a",
            clock,
            call=Call("d" * 64, "Fläche", (2**31 - 1, -(2**63), 0.1, b"\0\xff" * 8)),
            caps=Caps(2**63 - 1, 2**32, 0.125, 1, 0),
            tenant="Müller",
            priority=-7,
            key="Schlüssel",
            order=12345.678,
            cost=0.1,
        )
        assert await store.put([job]) == [job]
        record = await store.get("a")
        assert (record.job, record.state, record.attempts, record.outcome) == (job, "queued", 0, None)

    @pytest.mark.parametrize("size", [3, 100_000])
    async def test_recordings_come_out_as_they_went_in(self, store, clock, size):
        """What a job is answered from, and what it was answered, whether or not that is much."""
        given, kept = b"\xff\0g" * size, b"k\xfe\0" * size
        job = make_job("a", clock, recording=given, varies="host")
        await store.put([job])
        assert (await store.get("a")).job.recording == given
        (claimed,) = await store.claim(1, clock.wall())
        assert claimed.recording == given
        outcome = Outcome(status="succeeded", recording=kept, unrecorded="why", attempts=1)
        assert await store.finish([Finished("a", claimed.attempt, outcome)]) == [True]
        record = await store.get("a")
        assert (record.job.recording, record.outcome) == (given, outcome)
        (listed,) = await store.list(tenant=None, status="finished", after=None, limit=1)
        assert listed.outcome == outcome

    async def test_what_is_not_there_is_none(self, store):
        """An id that names nothing is no error of the store's."""
        assert await store.get("nobody") is None

    async def test_a_claim_starts_and_counts(self, store, clock):
        """A claimed job is running, its attempt counted, and is not claimed again."""
        await store.put([make_job("a", clock)])
        (job,) = await store.claim(10, clock.now)
        assert (job.id, job.attempt, job.returned) == ("a", 1, 0)
        record = await store.get("a")
        assert (record.job, record.state, record.attempts) == (job, "running", 1)
        assert await store.claim(10, clock.now) == []

    async def test_claims_take_no_more_than_asked(self, store, clock):
        """The limit is one, and none of none is nothing."""
        assert await store.claim(10, clock.now) == []
        await store.put([make_job(name, clock, order=float(place)) for place, name in enumerate("abcde")])
        assert names(await store.claim(2, clock.now)) == ["a", "b"]
        assert await store.claim(0, clock.now) == []
        assert names(await store.claim(10, clock.now)) == ["c", "d", "e"]

    async def test_a_tenants_jobs_start_by_priority_then_deadline_then_age(self, store, clock):
        """The tags say when its turns come, and not whose they are."""
        soon, late = clock.now + 1.0, clock.now + 2.0
        await store.put([make_job("old", clock, order=5.0), make_job("low", clock, priority=-1, order=0.0)])
        await store.put([make_job("late", clock, order=1.0, deadline=late), make_job("new", clock, order=1.5)])
        await store.put([make_job("soon", clock, order=2.0, deadline=soon)])
        await store.put([make_job("high", clock, priority=5, order=99.0)])
        claimed = await store.claim(10, clock.now)
        assert names(claimed) == ["high", "soon", "late", "old", "new", "low"]
        assert [job.order for job in claimed] == [0.0, 1.0, 1.5, 2.0, 5.0, 99.0]

    async def test_between_tenants_the_smallest_tag_goes_first(self, store, clock):
        """However high the priorities of one are, the others' turns come when they come."""
        for place in range(3):
            await store.put([make_job(f"a{place}", clock, tenant="a", priority=place, order=place + 0.1)])
            await store.put([make_job(f"b{place}", clock, tenant="b", priority=-place, order=place + 0.2)])
        assert names(await store.claim(3, clock.now)) == ["a2", "b0", "a1"]
        assert names(await store.claim(3, clock.now)) == ["b1", "a0", "b2"]

    async def test_an_exchanged_turn_is_kept_and_given_back(self, store, clock):
        """Who was passed over has the other's later turn; a job that is queued again, the turn that it started in."""
        await store.put([make_job("plain", clock, order=1.0), make_job("urgent", clock, priority=1, order=8.0)])
        await store.put([make_job("other", clock, tenant="other", order=5.0)])
        (urgent,) = await store.claim(1, clock.now)
        assert (urgent.id, urgent.order) == ("urgent", 1.0)
        assert (await store.get("plain")).job.order == 8.0
        await store.release([urgent], charged=False, due=clock.now)
        assert names(await store.claim(10, clock.now)) == ["urgent", "other", "plain"]

    async def test_a_flood_gets_its_share_and_no_more(self, store, clock):
        """One tenant submits a hundred times as much as each other; all get their weights' shares of fuel, within 2 %.

        What a job really uses differs widely from what is expected of it, and from one to the next.
        """
        weights = {"flood": 1.0, "a": 1.0, "b": 2.0, "c": 4.0}
        fairness = Fairness(unknown_cost=100.0)
        random = Random(7)
        for tenant, weight in weights.items():
            count = 5_000 if tenant == "flood" else 50
            for start in range(0, count, 500):
                jobs = []
                for number in range(start, min(start + 500, count)):
                    cost = fairness.expect(tenant, "m", "f")
                    order = fairness.tag(tenant, weight, cost)
                    jobs.append(make_job(f"{tenant}{number:06}", clock, tenant=tenant, order=order, cost=cost))
                await store.put(jobs)
        used = dict.fromkeys(weights, 0)
        # Each has as much waiting at the end as at the beginning.
        while sum(used.values()) < 1_200_000:
            jobs = await store.claim(8, clock.now)
            ends = []
            for job in jobs:
                fairness.started(job.order, job.tenant)
                fuel = min(20_000, int(random.paretovariate(1.5) * (900 if job.tenant == "b" else 300)))
                used[job.tenant] += fuel
                outcome = msgspec.structs.replace(SUCCEEDED, fuel_used=fuel)
                ends.append(Finished(job.id, job.attempt, outcome, fairness.shift(job.tenant, job.cost, fuel)))
                fairness.settled(job.tenant, job.cost, fuel)
                fairness.learn(job.tenant, "m", "f", fuel)
            await store.finish(ends)
            again = []
            for job in jobs:
                cost = fairness.expect(job.tenant, "m", "f")
                order = fairness.tag(job.tenant, weights[job.tenant], cost)
                again.append(make_job(f"{job.id}+", clock, tenant=job.tenant, order=order, cost=cost))
            await store.put(again)
        total, heaviest = sum(used.values()), sum(weights.values())
        for tenant, weight in weights.items():
            assert abs(used[tenant] / total - weight / heaviest) < 0.02, used

    async def test_a_tenant_that_is_passing_lets_others_go_first(self, store, clock):
        """None of its jobs is claimed, whatever their tags and priorities; afterwards it is as if nothing had been."""
        await store.put([make_job(f"a{n}", clock, tenant="a", order=float(n), priority=n) for n in range(3)])
        await store.put([make_job(f"b{n}", clock, tenant="b", order=10.0 + n) for n in range(3)])
        assert names(await store.claim(2, clock.now, ["a", "nobody"])) == ["b0", "b1"]
        assert names(await store.claim(5, clock.now, ["a", "b"])) == []
        assert names(await store.claim(5, clock.now)) == ["a2", "a1", "a0", "b2"]

    async def test_a_delayed_job_waits_for_its_time(self, store, clock):
        """It is not claimed a moment before it is due, and then it is."""
        await store.put([make_job("later", clock, delay=10.0), make_job("now", clock)])
        assert await store.next_due(clock.now) == NOON + 10.0
        assert names(await store.claim(10, clock.now)) == ["now"]
        clock.now += 9.999
        assert await store.claim(10, clock.now) == []
        clock.now = NOON + 10.0
        assert names(await store.claim(10, clock.now)) == ["later"]
        assert await store.next_due(clock.now) is None

    async def test_a_delayed_job_that_is_due_takes_its_place_by_priority(self, store, clock):
        """Having waited for its time gives a job no right of way and takes none."""
        await store.put([make_job("urgent", clock, delay=10.0, priority=1)])
        clock.now += 20.0
        await store.put([make_job("plain", clock), make_job("more", clock, priority=2)])
        assert names(await store.claim(10, clock.now)) == ["more", "urgent", "plain"]

    async def test_next_due_is_in_the_future_or_none(self, store, clock):
        """A job that could start already does not wait for its time; who asks would wait for nothing, busily."""
        await store.put([make_job("soon", clock, delay=5.0), make_job("later", clock, delay=50.0)])
        clock.now += 5.0
        assert await store.next_due(clock.now) == NOON + 50.0
        clock.now += 100.0
        assert await store.next_due(clock.now) is None
        assert names(await store.claim(10, clock.now)) == ["soon", "later"]

    async def test_a_cancelled_delayed_job_wakes_nobody(self, store, clock):
        """What was cancelled does not become due."""
        await store.put([make_job("a", clock, delay=5.0)])
        assert await store.cancel(["a"], CANCELLED) == ["cancelled"]
        assert await store.next_due(clock.now) is None

    async def test_the_outcome_of_the_current_attempt_is_recorded(self, store, clock):
        """With it the job is finished, and stays so."""
        await store.put([make_job("a", clock)])
        (job,) = await store.claim(1, clock.now)
        assert await store.finish([Finished("a", job.attempt, SUCCEEDED)]) == [True]
        record = await store.get("a")
        assert (record.state, record.attempts, record.outcome) == ("finished", 1, SUCCEEDED)
        assert await store.finish([Finished("a", job.attempt, TRAPPED)]) == [False]
        assert (await store.get("a")).outcome == SUCCEEDED

    async def test_late_outcomes_change_nothing(self, store, clock):
        """One of an earlier attempt, of a queued job, of a job that never was: each refused, the others recorded."""
        await store.put([make_job(name, clock, order=float(place)) for place, name in enumerate("abc")])
        first, _ = await store.claim(2, clock.now)
        await store.release([first], charged=True, due=clock.now)
        early = Finished("a", first.attempt, TRAPPED)
        assert await store.finish([early]) == [False]
        assert (await store.get("a")).state == "queued"
        second = (await store.claim(1, clock.now))[0]
        assert (second.id, second.attempt) == ("a", 2)
        ends = [early, Finished("c", 0, TRAPPED), Finished("nobody", 1, TRAPPED), Finished("b", 1, SUCCEEDED)]
        assert await store.finish(ends) == [False, False, False, True]
        assert (await store.get("a")).state == "running"
        assert (await store.get("c")).state == "queued"
        again = msgspec.structs.replace(SUCCEEDED, attempts=2)
        assert await store.finish([Finished("a", 2, again)]) == [True]
        assert (await store.get("a")).attempts == 2

    async def test_the_outcome_says_how_often_a_job_was_started(self, store, clock):
        """A job that is claimed when its time is over was not started, and asked for later it was not either."""
        await store.put([make_job("a", clock)])
        await store.claim(1, clock.now)
        late = Outcome(status="timed_out", error="timed out: its deadline passed before it started", attempts=0)
        assert await store.finish([Finished("a", 1, late)]) == [True]
        assert (await store.get("a")).attempts == 0
        (listed,) = await store.list(tenant=None, status=None, after=None, limit=9)
        assert listed.attempts == 0

    async def test_one_batch_records_a_job_once(self, store, clock):
        """Two outcomes of one attempt in one batch: the first counts."""
        await store.put([make_job("a", clock)])
        await store.claim(1, clock.now)
        assert await store.finish([Finished("a", 1, SUCCEEDED), Finished("a", 1, TRAPPED)]) == [True, False]
        assert (await store.get("a")).outcome == SUCCEEDED

    async def test_a_released_job_runs_again(self, store, clock):
        """Charged, its start counts; uncharged it does not, but the attempt number still never comes twice."""
        await store.put([make_job("a", clock)])
        (first,) = await store.claim(1, clock.now)
        await store.release([first], charged=True, due=clock.now)
        record = await store.get("a")
        assert (record.state, record.attempts) == ("queued", 1)
        (second,) = await store.claim(1, clock.now)
        await store.release([second], charged=False, due=clock.now)
        record = await store.get("a")
        assert (record.state, record.attempts) == ("queued", 1)
        (third,) = await store.claim(1, clock.now)
        assert (third.attempt, third.returned) == (3, 1)
        assert (await store.get("a")).attempts == 2

    async def test_a_released_job_waits_until_it_is_due(self, store, clock):
        """A release may put the next start off."""
        await store.put([make_job("a", clock)])
        await store.release(await store.claim(1, clock.now), charged=True, due=clock.now + 5.0)
        assert await store.claim(1, clock.now) == []
        assert await store.next_due(clock.now) == NOON + 5.0
        clock.now += 5.0
        assert names(await store.claim(1, clock.now)) == ["a"]

    async def test_a_late_release_changes_nothing(self, store, clock):
        """Only the attempt that runs can be released: not an earlier one, not a finished job, not an unknown one."""
        await store.put([make_job("a", clock), make_job("b", clock, order=1.0)])
        first, other = await store.claim(2, clock.now)
        await store.release([first], charged=True, due=clock.now)
        await store.claim(1, clock.now)
        await store.finish([Finished("b", 1, SUCCEEDED)])
        await store.release([first, other, make_job("nobody", clock, attempt=1)], charged=True, due=clock.now)
        assert (await store.get("a")).state == "running"
        assert (await store.get("b")).state == "finished"
        assert await store.get("nobody") is None
        await settled(store)
        assert store.counts() == {"queued": 0, "running": 1}

    async def test_a_key_gives_the_earlier_job(self, store, clock):
        """In each of its states, with nothing queued again; another tenant's key is another key."""
        job = make_job("a", clock, key="k")
        await store.put([job])
        again = make_job("b", clock, key="k", priority=3, delay=9.0)
        (kept,) = await store.put([again])
        assert kept.id == "a"
        assert await store.get("b") is None
        theirs = make_job("c", clock, key="k", tenant="other", order=1.0)
        assert await store.put([theirs]) == [theirs]
        await store.claim(1, clock.now)
        assert names(await store.put([again])) == ["a"]
        await store.finish([Finished("a", 1, SUCCEEDED)])
        assert names(await store.put([again])) == ["a"]
        await settled(store)
        assert store.counts() == {"queued": 1, "running": 0}

    async def test_a_key_within_one_batch(self, store, clock):
        """The first of the batch with a key is the job, the others are given it."""
        batch = [make_job("a", clock, key="k"), make_job("b", clock), make_job("c", clock, key="k")]
        assert names(await store.put(batch)) == ["a", "b", "a"]
        await settled(store)
        assert store.counts() == {"queued": 2, "running": 0}

    @pytest.mark.parametrize("change", [{"call": Call("m" * 64, "g")}, {"caps": Caps(1, 1, 1.0, 1, 1)}], ids=list)
    async def test_a_key_used_for_another_call_is_a_conflict(self, store, clock, change):
        """Nothing of the batch is queued then, in whatever place the conflict stands."""
        await store.put([make_job("a", clock, key="k")])
        other = make_job("b", clock, key="k", **change)
        for batch in ([make_job("c", clock), other], [other, make_job("c", clock)]):
            with pytest.raises(KeyConflict, match="key 'k' of tenant 'default'"):
                await store.put(batch)
        assert await store.get("c") is None
        await settled(store)
        assert store.counts() == {"queued": 1, "running": 0}

    async def test_a_conflict_within_one_batch(self, store, clock):
        """Two different calls under one key in one batch are a conflict too, and neither is queued."""
        batch = [make_job("a", clock, key="k"), make_job("b", clock, key="k", call=Call("m" * 64, "g"))]
        with pytest.raises(KeyConflict):
            await store.put(batch)
        assert await store.get("a") is None
        await settled(store)
        assert store.counts() == {"queued": 0, "running": 0}
        assert names(await store.put([make_job("c", clock, key="k")])) == ["c"]

    async def test_the_same_call_is_the_same_whatever_its_numbers(self, store, clock):
        """NaN is not equal to itself, but a call with it is the same call."""
        call = Call("m" * 64, "f", (float("nan"),))
        await store.put([make_job("a", clock, key="k", call=call)])
        call = Call("m" * 64, "f", (float("nan"),))
        assert names(await store.put([make_job("b", clock, key="k", call=call)])) == ["a"]

    async def test_cancelling_in_each_state(self, store, clock):
        """A queued or delayed job is finished with the outcome; the others are only told of."""
        await store.put([make_job(name, clock, order=float(place)) for place, name in enumerate("abc")])
        await store.put([make_job("delayed", clock, delay=5.0)])
        await store.claim(2, clock.now)
        await store.finish([Finished("a", 1, SUCCEEDED)])
        ids = ["a", "b", "c", "delayed", "nobody", "c"]
        found = await store.cancel(ids, CANCELLED)
        assert found == ["finished", "running", "cancelled", "cancelled", "unknown", "finished"]
        assert (await store.get("a")).outcome == SUCCEEDED
        assert (await store.get("b")).state == "running"
        for name in ("c", "delayed"):
            record = await store.get(name)
            assert (record.state, record.attempts, record.outcome) == ("finished", 0, CANCELLED)
        clock.now += 10.0
        assert await store.claim(10, clock.now) == []
        assert await store.finish([Finished("b", 1, SUCCEEDED)]) == [True]

    async def test_cancelled_jobs_do_not_stand_in_the_way(self, store, clock):
        """However many queued jobs were cancelled, the next claim finds those that are left."""
        for start in range(0, 3_000, 500):
            jobs = [make_job(f"j{number:05}", clock, order=float(number)) for number in range(start, start + 500)]
            await store.put(jobs)
            await store.cancel(names(jobs), CANCELLED)
        await store.put([make_job("left", clock, order=9e9), make_job("delayed", clock, delay=1.0)])
        assert names(await store.claim(10, clock.now)) == ["left"]
        clock.now += 1.0
        assert names(await store.claim(10, clock.now)) == ["delayed"]

    async def test_history_is_bounded_by_number(self, open_store, clock):
        """The newest finished jobs are kept, cancelled ones among them; queued and running ones do not count."""
        store = await open_store(StoreConfig(history=2), clock)
        await store.put([make_job(name, clock, order=float(place)) for place, name in enumerate("abcdef")])
        await store.claim(4, clock.now)
        for name in "abc":
            clock.now += 1.0
            await store.finish([Finished(name, 1, SUCCEEDED)])
        await settled(store)
        assert [name for name in "abcdef" if await store.get(name) is not None] == ["b", "c", "d", "e", "f"]
        clock.now += 1.0
        await store.cancel(["e"], CANCELLED)
        await settled(store)
        assert [name for name in "abcdef" if await store.get(name) is not None] == ["c", "d", "e", "f"]

    async def test_history_is_bounded_by_age(self, open_store, clock):
        """A finished job can be asked for until its age is up, however long ago it was submitted."""
        store = await open_store(StoreConfig(history_age=100.0), clock)
        await store.put([make_job("old", clock), make_job("new", clock, order=1.0), make_job("run", clock, order=2.0)])
        await store.claim(2, clock.now)
        await store.finish([Finished("old", 1, SUCCEEDED)])
        clock.now += 99.0
        await store.finish([Finished("new", 1, SUCCEEDED)])
        await settled(store)
        assert await store.get("old") is not None
        clock.now += 2.0
        await store.claim(1, clock.now)
        await store.finish([Finished("run", 1, SUCCEEDED)])
        await settled(store)
        assert await store.get("old") is None
        assert await store.get("new") is not None

    async def test_a_key_is_free_again_with_its_job(self, open_store, clock):
        """What has gone out of the history leaves no key behind."""
        store = await open_store(StoreConfig(history=1), clock)
        await store.put([make_job("a", clock, key="k"), make_job("b", clock, order=1.0)])
        await store.claim(2, clock.now)
        await store.finish([Finished("a", 1, SUCCEEDED)])
        assert names(await store.put([make_job("c", clock, key="k")])) == ["a"]
        await store.finish([Finished("b", 1, SUCCEEDED)])
        await settled(store)
        assert names(await store.put([make_job("d", clock, key="k", call=Call("m" * 64, "g"))])) == ["d"]

    async def test_listing_is_newest_first(self, store, clock):
        """And by tenant, state or status where asked for."""
        await store.put([make_job(name, clock, order=float(place)) for place, name in enumerate("abc")])
        clock.now += 1.0
        await store.put([make_job("d", clock, tenant="other", order=9.0)])
        await store.claim(2, clock.now)
        await store.finish([Finished("a", 1, TRAPPED)])

        async def found(tenant=None, status=None, after=None, limit=10):
            records = await store.list(tenant=tenant, status=status, after=after, limit=limit)
            return "".join(record.job.id for record in records)

        assert await found() == "dcba"
        assert await found(tenant="default") == "cba"
        assert await found(tenant="nobody") == ""
        assert await found(status="queued") == "dc"
        assert await found(status="running") == "b"
        assert await found(status="finished") == "a"
        assert await found(status="trapped") == "a"
        assert await found(status="succeeded") == ""
        assert await found(status="queued", tenant="other") == "d"

    async def test_pages_join_up(self, store, clock):
        """Each page begins behind the last job of the one before, also when jobs come in between."""
        every = [f"j{number:02}" for number in range(10)]
        await store.put([make_job(name, clock, order=float(place)) for place, name in enumerate(every)])
        seen: list[str] = []
        after = None
        while page := await store.list(tenant=None, status=None, after=after, limit=3):
            assert len(page) <= 3
            seen += [record.job.id for record in page]
            after = seen[-1]
            clock.now += 1.0
            await store.put([make_job(f"k{len(seen):02}", clock)])
            await store.claim(1, clock.now)
        assert seen == every[::-1]

    async def test_modules_are_noted_for_a_tenant_or_for_everybody(self, store):
        """A tenant has what was noted for it and what everybody has; a second note of a module changes nothing."""
        mine, theirs, everybodys = "1" * 64, "2" * 64, "3" * 64
        for _ in range(2):
            await store.note_loaded("acme", mine, 10)
        await store.note_loaded("bolt", theirs, 10)
        await store.note_loaded("", everybodys, 10)
        digests = [mine, theirs, everybodys, "4" * 64]
        assert await store.loaded("acme", digests) == {mine, everybodys}
        assert await store.loaded("bolt", digests) == {theirs, everybodys}
        assert await store.loaded("none", digests) == {everybodys}
        assert await store.loaded("acme", []) == set()

    async def test_of_a_tenants_modules_the_last_ones_stay_noted(self, store, clock):
        """Beyond the number that is kept the one goes whose note is the oldest; other tenants' stay."""
        first, second, third = "1" * 64, "2" * 64, "3" * 64
        await store.note_loaded("bolt", first, 2)
        for digest in (first, second, first, third):
            await store.note_loaded("acme", digest, 2)
            clock.now += 1.0
        assert await store.loaded("acme", [first, second, third]) == {first, third}
        assert await store.loaded("bolt", [first, second, third]) == {first}

    async def test_counts_and_the_longest_wait(self, store, clock):
        """What could start counts as waiting from the moment it could, delayed and released jobs too."""
        await settled(store)
        assert store.counts() == {"queued": 0, "running": 0}
        assert store.oldest_ready(clock.now) == 0.0
        await store.put([make_job("later", clock, delay=10.0)])
        clock.now += 4.0
        await settled(store)
        assert store.oldest_ready(clock.now) == 0.0
        await store.put([make_job("now", clock)])
        clock.now += 4.0
        await settled(store)
        assert store.counts() == {"queued": 2, "running": 0}
        assert store.oldest_ready(clock.now) == 4.0
        (job,) = await store.claim(1, clock.now)
        await settled(store)
        assert store.counts() == {"queued": 1, "running": 1}
        assert store.oldest_ready(clock.now) == 0.0
        clock.now += 5.0
        await settled(store)
        assert store.oldest_ready(clock.now) == 3.0
        await store.release([job], charged=True, due=clock.now)
        await store.cancel(["later"], CANCELLED)
        clock.now += 1.0
        await settled(store)
        assert store.oldest_ready(clock.now) == 1.0
        assert store.counts() == {"queued": 1, "running": 0}
