"""What every store must do with accounts, and a machine that does anything with them and checks that they add up.

A store's own tests subclass `AccountsContract`, and hand `accounts_machine` how a store is opened, and opened again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from clocks import NOON, VirtualClock
from conformance import CANCELLED, make_job, names, settled
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wasmq.config import Tenant
from wasmq.errors import KeyConflict
from wasmq.job import Call, Caps, Job, Outcome
from wasmq.ledger import MOST, Wait, account_of
from wasmq.reconcile import reconcile_store
from wasmq.store import Finished, SharedStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wasmq.ledger import Account, Terms
    from wasmq.store import Store

    Opener = Callable[[VirtualClock, dict[str, Terms]], Awaitable[Store]]
    Reopener = Callable[[Store, VirtualClock, dict[str, Terms], bool], Awaitable[Store]]

MIB = 2**20


def terms_of(**tenant: Any) -> Terms:
    """The terms of a tenant's section."""
    terms = Tenant(**tenant).terms
    assert terms is not None
    return terms


def job_of(name: str, clock: VirtualClock, fuel: int = 100, memory: int = MIB, **fields: Any) -> Job:
    """A job of acme's with these caps."""
    return make_job(name, clock, **{"tenant": "acme", "caps": Caps(fuel, memory, 1.0, 100), **fields})


def ended(job: Job, fuel: int) -> Finished:
    """The end of a job that used so much."""
    return Finished(job.id, job.attempt, Outcome(status="succeeded", fuel_used=fuel, attempts=1))


async def account(store: Store, clock: VirtualClock, terms: dict[str, Terms], tenant: str = "acme") -> Account:
    """How an account stands."""
    return account_of(await store.balance(tenant), terms[tenant], clock.now)


class AccountsContract:
    """The contract, one promise a test. `open_store` takes a clock and terms, and gives an open store."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        """The clock of the store under test."""
        return VirtualClock()

    @pytest.fixture
    def terms(self) -> dict[str, Terms]:
        """Those in force: acme has paid for 1 000 fuel."""
        return {"acme": terms_of(fuel_budget=1_000)}

    @pytest.fixture
    async def store(self, open_store: Opener, clock: VirtualClock, terms: dict[str, Terms]) -> Store:
        """An empty store that keeps the account."""
        return await open_store(clock, terms)

    async def test_a_claim_reserves_and_an_outcome_settles(self, store, clock, terms):
        """Caps while they run, exact amounts afterwards; an outcome that comes late or twice settles nothing."""
        await store.put([job_of("a", clock), job_of("b", clock, order=1)])
        jobs = await store.claim(10, clock.now)
        assert names(jobs) == ["a", "b"]
        now = await account(store, clock, terms)
        assert (now.granted, now.reserved, now.spent, now.free) == (1_000, 200, 0, 800)
        assert (now.running, now.memory) == (2, 2 * MIB)
        assert await store.finish([ended(jobs[0], 30), ended(jobs[0], 40)]) == [True, False]
        assert await store.finish([ended(jobs[0], 50)]) == [False]
        now = await account(store, clock, terms)
        assert (now.reserved, now.spent, now.free, now.running, now.memory) == (100, 30, 870, 1, MIB)

    async def test_a_job_that_starts_again_gives_back_what_it_held(self, store, clock, terms):
        """Charged or not, what an attempt that left no outcome may have used is not billed."""
        await store.put([job_of("a", clock)])
        for charged in (True, False):
            jobs = await store.claim(1, clock.now)
            await store.release(jobs, charged=charged, due=clock.now)
            await store.release(jobs, charged=charged, due=clock.now)
            now = await account(store, clock, terms)
            assert (now.granted, now.reserved, now.spent, now.running, now.memory) == (1_000, 0, 0, 0, 0)

    async def test_a_lost_or_cancelled_job_is_refunded(self, store, clock, terms):
        """Its outcome used nothing; one that is cancelled while it waits never held anything."""
        await store.put([job_of("a", clock), job_of("b", clock, order=1)])
        (job,) = await store.claim(1, clock.now)
        assert await store.cancel(["b"], CANCELLED) == ["cancelled"]
        await store.finish([Finished("a", job.attempt, Outcome(status="lost", attempts=1))])
        now = await account(store, clock, terms)
        assert (now.granted, now.reserved, now.spent, now.free) == (1_000, 0, 0, 1_000)

    async def test_who_cannot_pay_waits_and_others_do_not(self, store, clock, terms):
        """A tenant's jobs stay in their order behind the one that waits; the other tenants' go on."""
        await store.put(
            [
                job_of("big", clock, fuel=700),
                job_of("bigger", clock, fuel=800, order=1),
                job_of("small", clock, fuel=1, order=2),
                make_job("other", clock, order=3),
            ]
        )
        first = await store.claim(10, clock.now)
        assert sorted(names(first)) == ["big", "other"]
        assert await store.claim(10, clock.now) == []
        await store.finish([ended(job, 100) for job in first])
        assert names(await store.claim(10, clock.now)) == ["bigger", "small"]

    async def test_a_credit_lets_go_on(self, store, clock, terms):
        """At once; the same key again grants nothing more, and for another amount is a mistake."""
        await store.put([job_of("a", clock, fuel=1_500)])
        assert await store.claim(1, clock.now) == []
        assert await store.credit("acme", 500, clock.now, "invoice-1")
        assert await store.credit("acme", 500, clock.now, "invoice-1")
        with pytest.raises(KeyConflict):
            await store.credit("acme", 501, clock.now, "invoice-1")
        assert names(await store.claim(1, clock.now)) == ["a"]
        now = await account(store, clock, terms)
        assert (now.granted, now.reserved, now.free) == (1_500, 1_500, 0)

    async def test_a_credit_beyond_all_measure_is_none(self, store, clock, terms):
        """What would not fit the largest integer of a database is refused, and changes nothing."""
        assert await store.credit("acme", 1, clock.now)
        assert not await store.credit("acme", MOST, clock.now, "k")
        assert (await account(store, clock, terms)).granted == 1_001
        assert await store.credit("acme", 1, clock.now, "k")

    async def test_caps_on_running_jobs_and_memory(self, store, clock, terms):
        """What runs is bounded in number and in bytes; nothing of it is fuel."""
        terms["acme"] = terms_of(max_running=2, memory=3 * MIB)
        sizes = [2 * MIB, MIB, MIB, 3 * MIB]
        await store.put([job_of(f"j{place}", clock, memory=size, order=place) for place, size in enumerate(sizes)])
        first = await store.claim(10, clock.now)
        assert names(first) == ["j0", "j1"]
        assert await store.claim(10, clock.now) == []
        await store.finish([ended(first[1], 5)])
        second = await store.claim(10, clock.now)
        assert names(second) == ["j2"]
        await store.finish([ended(first[0], 5)])
        assert await store.claim(10, clock.now) == []
        await store.finish([ended(second[0], 5)])
        assert names(await store.claim(10, clock.now)) == ["j3"]
        now = await account(store, clock, terms)
        assert (now.granted, now.spent, now.free, now.running, now.memory) == (0, 0, None, 1, 3 * MIB)

    async def test_a_raised_cap_is_reserved_kept_and_spent(self, store, clock, terms):
        """Also when the job starts again, and whatever the account lacks is refused."""
        await store.put([job_of("a", clock, key="k", call=Call("m", "f", (b"x" * 16,)))])
        (job,) = await store.claim(1, clock.now)
        raised = await store.refuel("a", job.attempt, 300, clock.now)
        assert (raised.refuelled, raised.fuel, raised.call) == (300, 400, job.call)
        assert (await account(store, clock, terms)).reserved == 400
        assert isinstance(await store.refuel("a", job.attempt, 601, clock.now), Wait)
        assert await store.refuel("a", job.attempt + 1, 1, clock.now) is None
        assert await store.refuel("nobody", 1, 1, clock.now) is None
        assert (await store.get("a")).job.fuel == 400
        await store.release([raised], charged=True, due=clock.now)
        assert (await account(store, clock, terms)).reserved == 0
        (job,) = await store.claim(1, clock.now)
        assert (job.fuel, (await account(store, clock, terms)).reserved) == (400, 400)
        assert await store.put([job_of("b", clock, key="k", call=job.call)]) == [job]
        await store.finish([ended(job, 399)])
        now = await account(store, clock, terms)
        assert (now.reserved, now.spent, now.free) == (0, 399, 601)
        assert (await store.get("a")).job.fuel == 400

    async def test_a_large_job_can_be_raised(self, store, clock, terms):
        """What its guest is given is kept wherever it is, and comes back whole."""
        call = Call("m", "f", (b"x" * 100_000,))
        await store.put([job_of("a", clock, call=call)])
        (job,) = await store.claim(1, clock.now)
        for fuel in (100, 1):
            await store.refuel("a", job.attempt, fuel, clock.now)
        record = await store.get("a")
        assert (record.job.call, record.job.fuel) == (call, 201)

    async def test_terms_may_come_and_go_while_jobs_run(self, store, clock, terms):
        """What a job held when it started is what it gives back, whatever its tenant's terms are by then."""
        unpaid = terms.pop("acme")
        await store.put([job_of(name, clock, order=place) for place, name in enumerate("abc")])
        (before,) = await store.claim(1, clock.now)
        terms["acme"] = unpaid
        (during,) = await store.claim(1, clock.now)
        terms["acme"] = terms_of(max_running=3)
        (after,) = await store.claim(1, clock.now)
        del terms["acme"]
        await store.finish([ended(job, 10) for job in (before, during, after)])
        balance = await store.balance("acme")
        assert (balance.granted, balance.spent, balance.reserved) == (1_000, 10, 0)
        assert (balance.running, balance.memory) == (0, 0)

    async def test_next_due_is_when_the_account_lets_go_on(self, store, clock, terms):
        """A dispatcher that sleeps until then finds something to start: no later than the account says."""
        terms["acme"] = terms_of(fuel_budget=1_000, fuel_period=1_000.0)
        await store.put([job_of("a", clock, fuel=1_000), job_of("b", clock, fuel=5, order=1)])
        (job,) = await store.claim(10, clock.now)
        await store.finish([ended(job, 1_000)])
        assert await store.claim(10, clock.now) == []
        due = await store.next_due(clock.now)
        assert due is not None
        assert clock.now < due <= clock.now + 5.0

    async def test_all_accounts_are_known(self, store, clock, terms):
        """What metrics show: every account that something has happened to."""
        await store.credit("acme", 5, clock.now)
        if isinstance(store, SharedStore):
            await store.tend()
        assert store.balances()["acme"].granted == 1_005


TENANTS = ("budget", "period", "bounds", "none")
TERMS = {
    "budget": terms_of(fuel_budget=3_000),
    "period": terms_of(fuel_budget=400, fuel_period=10.0, fuel_burst=900, fuel_rate=50),
    "bounds": terms_of(max_running=2, memory=3 * MIB),
}


def accounts_machine(open_store: Opener, reopen: Reopener | None = None) -> type[RuleBasedStateMachine]:
    """Return a state machine that does anything to accounts, in any order, and reconciles them with the jobs.

    `reopen` gets an open store, its clock and terms and whether it is to crash, and gives the same in an open store.
    """

    class AccountsMachine(RuleBasedStateMachine):
        """Jobs start, end, start again, are raised and lost; accounts are credited; the process dies."""

        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.clock = VirtualClock()
            self.terms = dict(TERMS)
            self.jobs: dict[str, Job] = {}
            self.stale: list[Job] = []
            self.credited = 0
            self.keys: dict[str, int] = {}
            self.number = 0

        @initialize()
        def begin(self) -> None:
            self.store = self.runner.run(open_store(self.clock, self.terms))

        def teardown(self) -> None:
            if hasattr(self, "store"):
                self.runner.run(self.store.close())
            self.runner.close()

        def some(self, data: st.DataObject) -> list[Job]:
            return data.draw(st.lists(st.sampled_from(list(self.jobs.values())), min_size=1, max_size=3, unique_by=id))

        @rule(tenant=st.sampled_from(TENANTS), fuel=st.integers(1, 900), mib=st.integers(1, 3), count=st.integers(1, 3))
        def put(self, tenant: str, fuel: int, mib: int, count: int) -> None:
            batch = []
            for _ in range(count):
                self.number += 1
                fields = {"order": float(self.number), "tenant": tenant, "cost": float(fuel)}
                batch.append(job_of(f"j{self.number:05}", self.clock, fuel, mib * MIB, **fields))
            self.runner.run(self.store.put(batch))

        @rule(limit=st.integers(1, 6))
        def claim(self, limit: int) -> None:
            for job in self.runner.run(self.store.claim(limit, self.clock.now)):
                self.jobs[job.id] = job
                self.stale.append(job)

        @precondition(lambda self: self.jobs)
        @rule(data=st.data())
        def finish(self, data: st.DataObject) -> None:
            """Outcomes that used anything up to their caps, and late ones of any attempt that ever was."""
            ends = [ended(job, data.draw(st.integers(0, job.fuel))) for job in self.some(data)]
            late = data.draw(st.lists(st.sampled_from(self.stale), max_size=2))
            now = {(end.id, end.attempt) for end in ends}
            late = [job for job in late if (job.id, job.attempt) not in now]
            running = {(job.id, job.attempt) for job in self.jobs.values()}
            expected = [True] * len(ends)
            for job in late:
                expected.append((job.id, job.attempt) in running)
                running.discard((job.id, job.attempt))
            assert self.runner.run(self.store.finish([*ends, *[ended(job, 1) for job in late]])) == expected
            for end in (*ends, *late):
                if end.id in self.jobs and self.jobs[end.id].attempt == end.attempt:
                    del self.jobs[end.id]

        @precondition(lambda self: self.jobs)
        @rule(data=st.data(), charged=st.booleans(), wait=st.sampled_from([0.0, 5.0]))
        def release(self, data: st.DataObject, charged: bool, wait: float) -> None:
            jobs = self.some(data)
            self.runner.run(self.store.release(jobs, charged=charged, due=self.clock.now + wait))
            for job in jobs:
                del self.jobs[job.id]

        @precondition(lambda self: self.jobs)
        @rule(data=st.data(), fuel=st.integers(1, 500))
        def refuel(self, data: st.DataObject, fuel: int) -> None:
            job = data.draw(st.sampled_from(list(self.jobs.values())))
            raised = self.runner.run(self.store.refuel(job.id, job.attempt, fuel, self.clock.now))
            assert raised is not None
            if not isinstance(raised, Wait):
                assert raised.fuel == job.fuel + fuel
                self.jobs[job.id] = raised

        @rule(number=st.integers(1, 60))
        def cancel(self, number: int) -> None:
            name = f"j{number:05}"
            (found,) = self.runner.run(self.store.cancel([name], CANCELLED))
            assert (found == "running") == (name in self.jobs)

        @rule(fuel=st.integers(1, 900), key=st.sampled_from([None, None, "k", "l"]))
        def credit(self, fuel: int, key: str | None) -> None:
            """Each counts once; a key that was used for another amount counts for nothing."""
            known = fuel if key is None else self.keys.get(key, fuel)
            credit = self.store.credit("budget", fuel, self.clock.now, key)
            if known != fuel:
                with pytest.raises(KeyConflict):
                    self.runner.run(credit)
                return
            assert self.runner.run(credit)
            if key is None or key not in self.keys:
                self.credited += fuel
            if key is not None:
                self.keys[key] = fuel

        @rule(seconds=st.sampled_from([0.5, 5.0, 30.0, -3.0]))
        def advance(self, seconds: float) -> None:
            self.clock.now += seconds

        @rule()
        def tend(self) -> None:
            """What a shared store does now and then changes nobody's account."""
            self.runner.run(settled(self.store))

        @precondition(lambda _: reopen is not None)
        @rule(crash=st.booleans())
        def open_again(self, crash: bool) -> None:
            """Every account is as it was: what died jobs held goes back with what becomes of them."""
            assert reopen is not None
            before = {tenant: self.runner.run(self.store.balance(tenant)) for tenant in TERMS}
            self.store = self.runner.run(reopen(self.store, self.clock, self.terms, crash))
            for tenant, balance in before.items():
                again = self.runner.run(self.store.balance(tenant))
                figures = ("granted", "spent", "reserved", "running", "memory", "pace")
                assert [getattr(again, name) for name in figures] == [getattr(balance, name) for name in figures]
            orphans = self.runner.run(self.store.orphans(self.clock.now))
            assert {job.id for job in orphans} == self.jobs.keys()

        @invariant()
        def the_books_balance(self) -> None:
            """What is reserved is what runs, what is spent is what outcomes say, and nothing is negative."""
            if hasattr(self, "store"):
                self.runner.run(reconcile_store(self.store, self.terms))
                balance = self.runner.run(self.store.balance("budget"))
                assert balance.granted == self.credited + (0 if balance.refilled_at is None else 3_000)

        @invariant()
        def nobody_runs_beyond_the_terms(self) -> None:
            """The bounds of a tenant hold at every moment."""
            running = [job for job in self.jobs.values() if job.tenant == "bounds"]
            assert len(running) <= 2
            assert sum(job.caps.memory for job in running) <= 3 * MIB

    return AccountsMachine


__all__ = ["NOON", "TERMS", "AccountsContract", "accounts_machine"]
