"""Accounts add up in every store, whatever happens to jobs and to the process."""

import asyncio
import itertools
import shutil
import tempfile
from pathlib import Path

import pytest
from accounting import TERMS, AccountsContract, account, accounts_machine, ended, job_of, terms_of
from clocks import VirtualClock
from conformance import CANCELLED, names
from hypothesis import settings
from postgres import make_schema, server_url

from wasmq.config import StoreConfig
from wasmq.errors import StoreUnavailable
from wasmq.reconcile import BooksUnbalanced, reconcile, reconcile_store
from wasmq.store import open_store
from wasmq.store.postgres import accounts


async def open_with(url, clock, terms):
    """An open store that keeps the accounts of these terms."""
    store = open_store(url, StoreConfig(), clock)
    store.keep_accounts(terms)
    await store.open()
    return store


class TestMemoryAccounts(AccountsContract):
    """Every promise of the contract, in memory."""

    @pytest.fixture
    def open_store(self):
        """How a store in memory is opened."""
        return lambda clock, terms: open_with("memory://", clock, terms)


class TestSQLiteAccounts(AccountsContract):
    """Every promise of the contract, in a file."""

    @pytest.fixture
    async def open_store(self, tmp_path):
        """How a store in a file is opened; closed when the test is over."""
        stores = []

        async def opener(clock, terms):
            stores.append(await open_with(f"sqlite:///{tmp_path}/jobs.db", clock, terms))
            return stores[-1]

        yield opener
        for store in stores:
            await store.close()


class TestPostgresAccounts(AccountsContract):
    """Every promise of the contract, on a server."""

    @pytest.fixture
    async def open_store(self, postgres_url):
        """How a store on PostgreSQL is opened; closed when the test is over."""
        stores = []

        async def opener(clock, terms):
            stores.append(await open_with(postgres_url, clock, terms))
            return stores[-1]

        yield opener
        for store in stores:
            await store.close()


async def open_memory(clock, terms):
    """A store in memory."""
    return await open_with("memory://", clock, terms)


TestMemoryMachine = accounts_machine(open_memory).TestCase
TestMemoryMachine.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
NUMBERS = itertools.count()


async def open_file(clock, terms):
    """A store in a new file."""
    return await open_with(f"sqlite:///{TestSQLiteMachine.directory.name}/jobs-{next(NUMBERS)}.db", clock, terms)


async def open_file_again(store, clock, terms, crash):
    """Close a store and open its file; after a crash a copy of what was on disk the moment before."""
    path = store.path
    if crash:
        path = Path(TestSQLiteMachine.directory.name, f"jobs-{next(NUMBERS)}.db")
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{store.path}{suffix}", f"{path}{suffix}")
    await store.close()
    return await open_with(f"sqlite:///{path}", clock, terms)


class TestSQLiteMachine(
    accounts_machine(lambda *given: open_file(*given), lambda *given: open_file_again(*given)).TestCase
):
    """Anything in any order, with the file closed or left as by a crash and opened again in between."""

    settings = settings(max_examples=10, stateful_step_count=30, deadline=None)

    @classmethod
    def setUpClass(cls):
        """Make a directory for all files."""
        cls.directory = tempfile.TemporaryDirectory()

    @classmethod
    def tearDownClass(cls):
        """Remove it."""
        cls.directory.cleanup()


async def open_server(clock, terms):
    """A store in a schema of its own."""
    return await open_with(await make_schema(server_url()), clock, terms)


async def open_server_again(store, clock, terms, crash):
    """A store in the same schema after another one was closed, or has not been heard of until its lease lapsed."""
    url = store._database._url
    if crash:
        await store._database.execute("UPDATE wasmq_daemons SET lapses_at = '-infinity'")
        await store._database.close()
    else:
        await store.close()
    return await open_with(url, clock, terms)


@pytest.mark.usefixtures("postgres_server")
class TestPostgresMachine(accounts_machine(open_server, open_server_again).TestCase):
    """Anything in any order."""

    settings = settings(max_examples=6, stateful_step_count=25, deadline=None)

    @pytest.fixture(autouse=True)
    def short_front(self, monkeypatch):
        """Jobs are set aside and brought back as if there were many."""
        monkeypatch.setattr(accounts, "FRONT", 1)


# SQLite: the account is written with the batch, or not at all.


async def test_a_batch_that_cannot_be_written_leaves_the_account(tmp_path):
    """On a full disk the claim is refused and nothing is reserved; the next one reserves once."""
    clock, terms = VirtualClock(), {"acme": terms_of(fuel_budget=1_000)}
    store = await open_with(f"sqlite:///{tmp_path}/jobs.db", clock, terms)
    await store.put([job_of("a", clock)])
    store._connection.execute("CREATE TRIGGER full BEFORE INSERT ON holds BEGIN SELECT RAISE (ABORT, 'disk full'); END")
    with pytest.raises(StoreUnavailable, match="disk full"):
        await store.claim(1, clock.now)
    assert (await account(store, clock, terms)).reserved == 0
    store._connection.execute("DROP TRIGGER full")
    (job,) = await store.claim(1, clock.now)
    assert (await account(store, clock, terms)).reserved == 100
    store._connection.execute("CREATE TRIGGER full BEFORE UPDATE ON jobs BEGIN SELECT RAISE (ABORT, 'disk full'); END")
    with pytest.raises(StoreUnavailable, match="disk full"):
        await store.finish([ended(job, 7)])
    assert (await account(store, clock, terms)).reserved == 100
    store._connection.execute("DROP TRIGGER full")
    assert await store.finish([ended(job, 7)]) == [True]
    assert (await account(store, clock, terms)).spent == 7
    await reconcile_store(store, terms)
    await store.close()


# PostgreSQL: daemons share the accounts.


async def test_two_daemons_spend_one_account(postgres_url):
    """However their claims and outcomes meet, no more starts than the account can pay for."""
    clock, terms = VirtualClock(), {"acme": terms_of(fuel_budget=1_000, max_running=6)}
    stores = [await open_with(postgres_url, clock, terms) for _ in range(2)]
    await stores[0].put([job_of(f"j{place:02}", clock, order=place) for place in range(60)])

    async def work(store):
        done = 0
        while jobs := await store.claim(3, clock.now):
            assert (await store.balance("acme")).running <= 6
            done += sum(await store.finish([ended(job, 20) for job in jobs]))
        return done

    done = 0
    for _ in range(40):
        done += sum(await asyncio.gather(*[work(store) for store in stores]))
    balance = await stores[1].balance("acme")
    # With less than a cap left nothing starts any more.
    assert (done, balance.spent, balance.reserved, balance.free) == (46, 920, 0, 80)
    await reconcile_store(stores[0], terms)
    for store in stores:
        await store.close()


async def test_daemons_whose_clocks_differ_refill_no_account_twice(postgres_url):
    """Time is the server's: by turns they grant what has passed there, not the hours between their clocks."""
    terms = {"acme": terms_of(fuel_budget=10_000, fuel_period=86_400.0, fuel_burst=100_000)}
    clocks = [VirtualClock() for _ in range(2)]
    clocks[1].now += 3_600.0
    stores = [await open_with(postgres_url, clock, terms) for clock in clocks]
    for place in range(20):
        store, clock = stores[place % 2], clocks[place % 2]
        await store.put([job_of(f"j{place:02}", clock)])
        jobs = await store.claim(5, clock.now)
        await store.finish([ended(job, 100) for job in jobs])
    balance = await stores[0].balance("acme")
    assert balance.spent == 2_000
    # An hour would be 416.
    assert 100_000 <= balance.granted < 100_100
    for store in stores:
        await store.close()


async def test_many_jobs_that_wait_are_out_of_the_way(postgres_url, monkeypatch):
    """Set aside they are queued as before, can be cancelled, and come back in their order when the account allows."""
    monkeypatch.setattr(accounts, "FRONT", 3)
    clock, terms = VirtualClock(), {"acme": terms_of(fuel_budget=10)}
    store = await open_with(postgres_url, clock, terms)
    await store.put([job_of(f"j{place:02}", clock, order=float(place)) for place in range(30)])
    assert await store.claim(5, clock.now) == []
    await store.tend()
    aside = "SELECT count(*) FROM wasmq_jobs WHERE state = 'held'"
    assert (await store._database.fetch(aside))[0]["count"] == 27
    assert store.counts() == {"queued": 30, "running": 0}
    assert len(await store.list(tenant="acme", status="queued", after=None, limit=50)) == 30
    assert await store.cancel(["j20"], CANCELLED) == ["cancelled"]
    await store.credit("acme", 10_000, clock.now)
    started = []
    for _ in range(4):
        started += names(await store.claim(50, clock.now))
        await store.tend()
    assert started == [f"j{place:02}" for place in range(30) if place != 20]
    await reconcile_store(store, terms)
    await store.close()


async def test_a_claim_whose_answer_was_lost_gives_back(postgres_url):
    """What it reserved goes back with the jobs that it took."""
    clock, terms = VirtualClock(), {"acme": terms_of(fuel_budget=1_000)}
    store = await open_with(postgres_url, clock, terms)
    await store.put([job_of("a", clock)])
    await store.claim(1, clock.now)
    store._claiming.lost[store._claiming._number] = 0.0
    await store._lease.renew()
    assert (await account(store, clock, terms)).reserved == 0
    (job,) = await store.claim(1, clock.now)
    assert (job.id, (await account(store, clock, terms)).reserved) == ("a", 100)
    await reconcile_store(store, terms)
    await store.close()


# The check itself.


async def test_books_that_do_not_balance_are_told_apart():
    """Each kind of difference is found, and named with its tenant."""
    clock = VirtualClock()
    store = await open_with("memory://", clock, TERMS)
    await store.put([job_of("a", clock, tenant="budget"), job_of("b", clock, tenant="budget", order=1)])
    jobs = await store.claim(2, clock.now)
    await store.finish([ended(jobs[0], 30)])
    records = await store.list(tenant=None, status=None, after=None, limit=10)
    balance = await store.balance("budget")
    reconcile({"budget": balance}, records, TERMS)
    for name, wrong in [("spent", 31), ("reserved", 99), ("running", 2), ("memory", 0)]:
        bad = await store.balance("budget")
        setattr(bad, name, wrong)
        with pytest.raises(BooksUnbalanced, match=rf"^budget: {name} is {wrong}"):
            reconcile({"budget": bad}, records, TERMS)
    balance.granted = 100
    with pytest.raises(BooksUnbalanced, match="a negative amount"):
        reconcile({"budget": balance}, records, TERMS)
