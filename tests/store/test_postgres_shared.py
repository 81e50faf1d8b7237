"""Several daemons, one database: who owns what, who hears what, and what happens when one of them is gone."""

import asyncio
import math
from contextlib import asynccontextmanager

import asyncpg
import pytest
from clocks import VirtualClock
from conformance import CANCELLED, SUCCEEDED, TRAPPED, make_job, names
from postgres import execute, make_schema

from wasmq.config import StoreConfig
from wasmq.errors import ConfigError, StoreUnavailable
from wasmq.fairness import Charge
from wasmq.store import Finished, open_store
from wasmq.store.postgres.database import place_of


@pytest.fixture
def clock():
    """The clock of every store here; leases do not go by it."""
    return VirtualClock()


@pytest.fixture
async def open_more(postgres_url, clock):
    """How one more store of the same database is opened; all are closed when the test is over."""
    stores = []

    async def open_one(**settings):
        store = open_store(postgres_url, StoreConfig(**settings), clock)
        await store.open()
        stores.append(store)
        return store

    yield open_one
    for store in stores:
        await store.close()


async def lapse(url, store):
    """Let the lease of a store's daemon run out now."""
    done = await execute(
        url, "UPDATE wasmq_daemons SET lapses_at = '-infinity' WHERE id = $1 RETURNING id", store._owner
    )
    assert done


async def test_a_job_is_claimed_once(open_more, clock):
    """However many claim at the same time, every job goes to one of them."""
    stores = [await open_more() for _ in range(3)]
    await stores[0].put([make_job(f"j{number:03}", clock, order=float(number)) for number in range(200)])
    claims = await asyncio.gather(*(store.claim(10, clock.now) for store in stores for _ in range(10)))
    claimed = [name for claim in claims for name in names(claim)]
    assert len(claimed) == len(set(claimed))
    while rest := await stores[1].claim(50, clock.now):
        claimed += names(rest)
    assert sorted(claimed) == [f"j{number:03}" for number in range(200)]


async def test_only_the_owner_finishes(open_more, clock):
    """The number of the attempt alone is not enough: it must be the daemon's own."""
    one, two = await open_more(), await open_more()
    await one.put([make_job("a", clock)])
    (job,) = await one.claim(1, clock.now)
    assert await two.finish([Finished("a", job.attempt, TRAPPED)]) == [False]
    await two.release([job], charged=True, due=clock.now)
    assert (await two.get("a")).state == "running"
    assert await one.finish([Finished("a", job.attempt, SUCCEEDED)]) == [True]


async def test_a_lapsed_lease_gives_the_jobs_to_another(open_more, clock, postgres_url):
    """The attempt stays counted; what the first one says then changes nothing, and it goes on with other jobs."""
    one, two = await open_more(), await open_more()
    await one.put([make_job("a", clock), make_job("b", clock, order=1.0)])
    (job,) = await one.claim(1, clock.now)
    assert await two.orphans(clock.now) == []
    await lapse(postgres_url, one)
    assert await two.orphans(clock.now) == [job]
    assert await two.orphans(clock.now) == []
    assert await one.finish([Finished("a", job.attempt, TRAPPED)]) == [False]
    await two.release([job], charged=True, due=clock.now)
    assert (await one.get("a")).attempts == 1
    assert names(await one.claim(1, clock.now)) == ["a"]
    # What it claimed without a lease is anyone's, unless it has renewed by then.
    await one._lease.renew()
    assert await two.orphans(clock.now) == []
    assert await one.finish([Finished("a", 2, SUCCEEDED)]) == [True]


async def test_who_renews_in_time_keeps_its_jobs(open_more, clock, postgres_url):
    """A lease that has lapsed but was not swept is as good as new once it is renewed."""
    one, two = await open_more(), await open_more()
    await one.put([make_job("a", clock)])
    (job,) = await one.claim(1, clock.now)
    await lapse(postgres_url, one)
    await one._lease.renew()
    assert await two.orphans(clock.now) == []
    assert await one.finish([Finished("a", job.attempt, SUCCEEDED)]) == [True]


async def test_leaving_gives_the_lease_up(open_more, clock):
    """The jobs of a daemon that went without handing them back need not wait for its lease to lapse."""
    one, two = await open_more(), await open_more()
    await one.put([make_job("a", clock)])
    (job,) = await one.claim(1, clock.now)
    await one.close()
    assert await two.orphans(clock.now) == [job]


async def test_a_claim_whose_answer_was_lost_does_not_count(open_more, clock):
    """What it took is queued again by the next renewal, its start uncharged, and the number is not used twice."""
    store = await open_more()
    await store.put([make_job("a", clock), make_job("b", clock, order=1.0)])
    connection = await store._database.connect()

    class Deaf:
        async def fetch(self, *arguments):
            await connection.fetch(*arguments)
            raise asyncpg.ConnectionDoesNotExistError("cut")

    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await store._claiming.start(Deaf(), 1, clock.now)
    await connection.close()
    assert names(await store.claim(10, clock.now)) == ["b"]
    await store._lease.renew()
    (job,) = await store.claim(10, clock.now)
    assert (job.id, job.attempt, job.returned) == ("a", 2, 1)
    assert (await store.get("b")).state == "running"


@pytest.mark.parametrize("given_up", [False, True], ids=["tried again", "given up"])
async def test_a_take_over_whose_answer_was_lost_is_done_again(open_more, clock, postgres_url, given_up):
    """Jobs that were taken over without this daemon's knowing are handed out by the next try, once, as started."""
    one, two = await open_more(), await open_more()
    await one.put([make_job("a", clock), make_job("b", clock, order=1.0)])
    jobs = await one.claim(2, clock.now)
    await lapse(postgres_url, one)
    run = two._database.run

    async def deaf(work):
        async def in_vain(connection, tries):
            result = await work(connection, tries)
            if tries and not given_up:
                return result
            raise StoreUnavailable("cut") if given_up else ConnectionResetError("cut")

        return await run(in_vain)

    two._database.run = deaf
    if given_up:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await two.orphans(clock.now)
        two._database.run = run
    assert sorted(await two.orphans(clock.now), key=lambda job: job.id) == jobs
    two._database.run = run
    assert await two.orphans(clock.now) == []
    assert await two.finish([Finished("a", 1, SUCCEEDED)]) == [True]
    await two.release(jobs[1:], charged=True, due=clock.now)
    assert (await two.get("b")).attempts == 1


async def test_a_take_over_that_is_carried_out_late_is_found(open_more, clock, postgres_url):
    """What the server did after the next try had found nothing comes to light in one of those after it."""
    one, two = await open_more(), await open_more()
    await one.put([make_job("a", clock)])
    jobs = await one.claim(1, clock.now)
    run = two._database.run

    async def unheard(work):
        async def in_vain(connection, tries):
            async with connection.transaction():
                await work(connection, tries)
                raise StoreUnavailable("cut")

        return await run(in_vain)

    two._database.run = unheard
    with pytest.raises(StoreUnavailable):
        await two.orphans(clock.now)
    two._database.run = run
    number = two._takeovers._number
    assert await two.orphans(clock.now) == []
    late = "UPDATE wasmq_jobs SET owner = $1, claim = $2 WHERE id = 'a' RETURNING id"
    assert await execute(postgres_url, late, two._owner, number)
    assert await two.orphans(clock.now) == jobs
    assert await two.orphans(clock.now) == []


async def test_a_lost_answer_to_a_finish_or_cancel_or_put_is_no_loss(open_more, clock):
    """Tried again, each says what the first try did."""
    store = await open_more()
    cuts = 0
    run = store._database.run

    async def run_twice(work):
        async def first_in_vain(connection, tries):
            nonlocal cuts
            result = await work(connection, tries)
            if not tries:
                cuts += 1
                raise ConnectionResetError("cut")
            return result

        return await run(first_in_vain)

    store._database.run = run_twice
    await store.put([make_job("a", clock), make_job("b", clock, order=1.0)])
    keyed = make_job("k", clock, key="k", order=2.0)
    assert await store.put([keyed]) == [keyed]
    assert await store.cancel(["b"], CANCELLED) == ["cancelled"]
    store._database.run = run
    assert names(await store.claim(10, clock.now)) == ["a", "k"]
    store._database.run = run_twice
    assert await store.finish([Finished("a", 1, SUCCEEDED), Finished("b", 1, TRAPPED)]) == [True, False]
    store._database.run = run
    await store.tend()
    assert store.counts() == {"queued": 0, "running": 1}
    assert cuts >= 4


async def test_a_finish_that_nobody_was_told_of_is_told_when_asked_again(open_more, clock):
    """However long the answer was lost for: the caller asks until it knows, and must not take it for a late one."""
    store = await open_more()
    await store.put([make_job("a", clock), make_job("b", clock, order=1.0)])
    await store.claim(10, clock.now)
    run = store._database.run

    async def in_vain(work):
        await run(work)
        raise StoreUnavailable("away")

    store._database.run = in_vain
    with pytest.raises(StoreUnavailable):
        await store.finish([Finished("a", 1, SUCCEEDED)])
    store._database.run = run
    ends = [Finished("a", 1, SUCCEEDED), Finished("b", 1, SUCCEEDED), Finished("b", 0, TRAPPED)]
    assert await store.finish(ends) == [True, True, False]
    assert await store.finish(ends) == [False, False, False]


async def test_two_daemons_get_one_job_for_one_key(open_more, clock):
    """Also when they put it at the same moment, with other keys in another order."""
    one, two = await open_more(), await open_more()
    batches = [
        [make_job(f"{name}{key}", clock, key=key) for key in keys] for name, keys in (("a", "xyz"), ("b", "zyx"))
    ]
    first, second = await asyncio.gather(one.put(batches[0]), two.put(batches[1]))
    assert {job.key: job.id for job in first} == {job.key: job.id for job in second}
    await one.tend()
    assert one.counts() == {"queued": 3, "running": 0}


async def test_a_cancel_reaches_the_daemon_that_runs_the_job(open_more, clock):
    """It is a mark on the job, which the owner finds whether or not it was told to look."""
    one, two = await open_more(), await open_more()
    await one.put([make_job("a", clock)])
    await one.claim(1, clock.now)
    assert await one.wishes() == []
    assert await two.cancel(["a"], CANCELLED) == ["elsewhere"]
    assert await two.wishes() == []
    assert await one.wishes() == ["a"]
    assert await one.cancel(["a"], CANCELLED) == ["running"]
    assert await one.finish([Finished("a", 1, CANCELLED)]) == [True]
    assert await one.wishes() == []


async def test_fates(open_more, clock):
    """What became of jobs, whoever ran them; of those that are not known nothing is said."""
    one, two = await open_more(), await open_more()
    jobs = [make_job(name, clock, order=float(place)) for place, name in enumerate("abc")]
    await one.put(jobs)
    (job,) = await two.claim(1, clock.now)
    await two.finish([Finished("a", 1, SUCCEEDED)])
    found = {fate.id: fate.ended for fate in await one.fates(["a", "b", "nobody", "nul\0"])}
    assert found == {"a": (job, SUCCEEDED), "b": None}


async def test_a_hint_reaches_the_others_and_not_oneself(open_more, clock):
    """A daemon that put a job rings the others' bells."""
    one, two = await open_more(), await open_more()
    await one._lease.renew()  # to see that there is another
    async with asyncio.TaskGroup() as group:
        for store in (one, two):
            for loop in store.loops():
                ready = asyncio.get_running_loop().create_future()
                group.create_task(loop.run(task_status=_Started(ready)))
                await ready
            # Rung once when it begins to listen.
            assert await asyncio.wait_for(store.changed.wait(), 10)
        await one.put([make_job("a", clock)])
        assert await asyncio.wait_for(two.changed.wait(), 10)
        assert not await one.changed.wait(0)
        await one.close()
        await two.close()


class _Started:
    """Tells that a loop has started."""

    def __init__(self, future):
        self._future = future

    def started(self, value=None):
        """Take the news."""
        self._future.set_result(value)


async def test_the_history_waits_for_the_others_to_see_it(open_more, clock):
    """While daemons share the store, even no history is long enough for an outcome to cross over."""
    one = await open_more(history=0)
    await open_more(history=0)
    await one._lease.renew()
    await one.put([make_job("a", clock)])
    await one.claim(1, clock.now)
    await one.finish([Finished("a", 1, SUCCEEDED)])
    await one.tend()
    assert (await one.get("a")).outcome == SUCCEEDED
    await execute(one._database._url, "UPDATE wasmq_finished SET recorded_at = '-infinity'")
    await one.tend()
    assert await one.get("a") is None


async def test_modules_and_virtual_time_are_shared(open_more):
    """Bytes by digest, and the furthest that any daemon has come."""
    one, two = await open_more(), await open_more()
    wasm = b"\0asm" + bytes(range(256)) * 100
    await one.put_module("d" * 64, wasm)
    await two.put_module("d" * 64, wasm)
    assert await two.get_module("d" * 64) == wasm
    assert await two.get_module("e" * 64) is None
    assert (await one.look(5.0, {})).virtual == 5.0
    assert (await two.look(3.0, {})).virtual == 5.0
    assert (await two.look(7.5, {})).virtual == 7.5
    assert (await one.look(0.0, {})).virtual == 7.5


async def test_finish_tags_are_shared(open_more, clock):
    """What daemons did to them adds up, whoever looks; tenants without jobs are forgotten behind the virtual time."""
    one, two = await open_more(), await open_more()
    await one.look(100.0, {})
    charges = {"a": Charge(50.0, 150.0), "b": Charge(5.0, 105.0), "c": Charge(-7.0, -math.inf)}
    assert (await one.look(0.0, charges)).finishes == {"a": 150.0, "b": 105.0, "c": 93.0}
    assert (await two.look(0.0, {})).finishes == {"a": 150.0, "b": 105.0}
    more = {"a": Charge(-20.0, -math.inf), "c": Charge(1.0, 101.0)}
    assert (await two.look(0.0, more)).finishes == {"a": 130.0, "b": 105.0, "c": 101.0}
    await one.put([make_job("1", clock, tenant="b")])
    assert (await one.look(120.0, {})).finishes == {"a": 130.0}
    await two.tend()
    # The one with a job still has its own, the other one begins again where all are.
    again = {"b": Charge(1.0, -math.inf), "c": Charge(1.0, -math.inf)}
    assert (await one.look(0.0, again)).finishes == {"a": 130.0, "b": 106.0, "c": 121.0}


async def test_a_lost_answer_charges_nobody_twice(open_more, monkeypatch):
    """What is said again is carried out once, whether it was heard the first time or not; the next one counts again."""
    one, two = await open_more(), await open_more()
    database = one._database
    fetch = database.fetch
    charges = {"a": Charge(50.0, 50.0), "b": Charge(5.0, -math.inf)}
    await one.look(0.0, charges)

    async def lost(statement, *values):
        if statement == one._sql["charge"]:
            if hears.pop(0):
                await fetch(statement, *values)
            raise StoreUnavailable("cut")
        return await fetch(statement, *values)

    hears = [True, True, False, False, False, True]
    for number in (2, 3, 4):
        monkeypatch.setattr(database, "fetch", lost)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await one.look(0.0, charges)
        monkeypatch.setattr(database, "fetch", fetch)
        assert (await one.look(0.0, charges)).finishes == {"a": 50.0 * number, "b": 5.0 * number}
    assert (await two.look(0.0, charges)).finishes == {"a": 250.0, "b": 25.0}


async def test_rounds_of_daemons_that_are_gone_are_forgotten(open_more, postgres_url):
    """A day later; those of daemons that are there are kept."""
    one, two = await open_more(), await open_more()
    for store in (one, two):
        await store.look(0.0, {"a": Charge(1.0, 1.0)})
    await execute(postgres_url, "UPDATE wasmq_charged SET at = at - interval '2 days'")
    await lapse(postgres_url, two)
    await one.orphans(0.0)
    await one.tend()
    rows = await execute(postgres_url, "SELECT daemon FROM wasmq_charged")
    assert [row["daemon"] for row in rows] == [one._owner]


async def test_daemons_that_charge_at_the_same_time_lose_nothing(open_more):
    """Nor do they wait for each other in a circle, in whatever order they name the tenants."""
    stores = [await open_more() for _ in range(3)]
    tenants = [f"t{number}" for number in range(50)]

    async def charge(store, order):
        for _ in range(20):
            await store.look(0.0, {tenant: Charge(1.0, 1.0) for tenant in order})

    await asyncio.gather(
        *(charge(store, order) for store, order in zip(stores, (tenants, tenants[::-1], tenants[::2]), strict=True))
    )
    finishes = (await stores[0].look(0.0, {})).finishes
    assert finishes == {tenant: 60.0 if number % 2 == 0 else 40.0 for number, tenant in enumerate(tenants)}


async def test_a_claim_uses_its_index(open_more, clock, postgres_url):
    """It reads the ready jobs in their order and looks at no other, also before the statistics know of them."""
    store = await open_more()
    for start in range(0, 20_000, 1_000):
        jobs = [make_job(f"j{number:06}", clock, order=float(number)) for number in range(start, start + 1_000)]
        await store.put(jobs)
    statement = store._sql["claim"]
    plan = "\n".join(row[0] for row in await _explain(postgres_url, statement, 128, store._owner, 1, clock.now, []))
    assert "Index Scan using wasmq_jobs_ready" in plan, plan
    assert "Seq Scan on wasmq_jobs" not in plan, plan


async def test_a_claim_under_way_leaves_the_rest_to_others(open_more, clock, postgres_url):
    """Where tags have moved, too, one that is not committed yet locks nothing but what it starts."""
    one, two = await open_more(), await open_more()
    await one.put([make_job(f"{name}{n}", clock, tenant=name, order=float(n)) for name in "ab" for n in range(4)])
    ends = [Finished(job.id, job.attempt, SUCCEEDED, 0.25) for job in await one.claim(2, clock.now)]
    assert await one.finish(ends) == [True, True]
    connection = await asyncpg.connect(postgres_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        under_way = await connection.fetch(one._sql["claim"], 3, one._owner, 9, clock.now, [])
        claimed = await two.claim(3, clock.now)
        await transaction.rollback()
    finally:
        await connection.close()
    assert sorted(row["id"] for row in under_way) == ["a1", "a2", "b1"]
    assert sorted(names(claimed)) == ["a3", "b2", "b3"]


async def test_rivals_are_found_by_their_index(open_more, clock, postgres_url):
    """Who of a tenant goes first is read from the beginning of its stretch, however many wait behind."""
    store = await open_more()
    for start in range(0, 20_000, 1_000):
        jobs = [make_job(f"j{number:06}", clock, tenant=f"t{number % 7}") for number in range(start, start + 1_000)]
        await store.put(jobs)
    statement = store._sql["rivals"]
    plan = "\n".join(row[0] for row in await _explain(postgres_url, statement, ["t1", "t2"], [20, 30]))
    assert "Index Scan using wasmq_jobs_ranked" in plan, plan
    assert "Seq Scan" not in plan, plan


async def _explain(url, statement, *values):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(f"EXPLAIN {statement}", *values)
    finally:
        await connection.close()


@asynccontextmanager
async def refused(url, match):
    """The body prepares; opening a store at the URL is then refused with a line that matches, without its password."""
    yield
    store = open_store(url, StoreConfig(), VirtualClock())
    with pytest.raises(ConfigError, match=match) as caught:
        await store.open()
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_newer_schema_is_left_alone(open_more, postgres_url):
    """An older wasmq says so instead of touching what it does not know."""
    await open_more()
    async with refused(postgres_url, r"version 9, this wasmq knows \d at most; upgrade wasmq"):
        await execute(postgres_url, "UPDATE wasmq_schema SET version = 9")


async def test_what_is_in_the_way_is_said(postgres_cluster):
    """No server, no such database, a wrong password, a missing right: one line each, with the place and the way out."""
    host = f"?host={postgres_cluster.directory}"
    await execute(postgres_cluster.url, "DROP ROLE IF EXISTS locked")
    await execute(postgres_cluster.url, "CREATE ROLE locked LOGIN PASSWORD 'right'")
    async with refused("postgresql://me:s3cret@127.0.0.1:1/jobs", r"me@127\.0\.0\.1:1/jobs: no PostgreSQL server"):
        pass
    async with refused(f"postgresql://postgres@/nowhere{host}", r"nowhere: there is no such database; create it"):
        pass
    async with refused(f"postgresql://locked:s3cret@/postgres{host}", r"locked@.*: the user is refused .*correct the"):
        pass
    schema = (await make_schema(postgres_cluster.url)).replace("postgres@", "locked:right@")
    async with refused(schema, r"none of the schemas in its search_path|lacks a right"):
        pass
    async with refused("postgresql://%zz:s3cret@[/x", r"postgresql://"):
        pass


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://me:s3cret@db.example:5433/jobs", "postgresql://me@db.example:5433/jobs"),
        ("postgres:///jobs?host=/run/postgresql", "postgresql:///run/postgresql/jobs"),
        ("postgresql://me:s3:cr@et@host/jobs?password=s3cret", "postgresql://me@host/jobs"),
    ],
)
def test_a_place_is_a_url_without_its_secrets(url, place):
    """What errors and logs call a database."""
    assert place_of(url) == place


async def test_a_store_that_is_away_is_given_up_in_time(open_more, clock):
    """With one clear error, and all is well again afterwards."""
    store = await open_more(timeout=1.0)
    url, store._database._url = store._database._url, "unused"
    pool = store._database._pool
    store._database._pool = await asyncpg.create_pool(url, min_size=0, max_size=1)
    holder = await store._database._pool.acquire()
    with pytest.raises(StoreUnavailable, match=r"the store does not answer: postgresql://.*try again later"):
        await store.put([make_job("a", clock)])
    assert not store._database.reachable
    await store._database._pool.release(holder)
    await store.put([make_job("a", clock)])
    assert store._database.reachable
    await store._database._pool.close()
    store._database._pool = pool
    assert names(await store.claim(1, clock.now)) == ["a"]
