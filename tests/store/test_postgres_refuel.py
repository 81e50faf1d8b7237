"""A running job's cap, raised by any of the daemons that share a database: once, and said to the one that runs it."""

from __future__ import annotations

import pytest
from clocks import VirtualClock
from conformance import make_job
from postgres import execute

from wasmq.config import StoreConfig
from wasmq.errors import LimitTooHigh
from wasmq.job import Caps, Outcome
from wasmq.ledger import Terms
from wasmq.store import Finished, open_store
from wasmq.store.protocol import Raised


@pytest.fixture
async def stores(postgres_url):
    """Two stores of one database, with an account for the tenant of the jobs."""
    clock, opened = VirtualClock(), []
    for _ in range(2):
        store = open_store(postgres_url, StoreConfig(), clock)
        store.keep_accounts({"default": Terms(budget=10_000)})
        await store.open()
        opened.append(store)
    yield opened
    for store in opened:
        await store.close()


async def claimed(store, name="a"):
    """A job that a store's daemon has claimed."""
    clock = store._clock
    await store.put([make_job(name, clock, caps=Caps(1_000, 65_536, 1.0, 100, suspend=60.0))])
    (job,) = await store.claim(1, clock.now)
    return job


async def test_a_lost_answer_is_not_a_second_refuel(stores, monkeypatch):
    """Tried again after it was recorded, also when another daemon has raised the cap between the two."""
    one, other = stores
    job = await claimed(one)
    run = other._database.run
    refuel_of_one = one.refuel

    async def twice(work):
        async def both(connection, tries):
            await work(connection, tries)
            await refuel_of_one("a", job.attempt, 10, 0.0)
            return await work(connection, tries + 1)

        return await run(both)

    monkeypatch.setattr(other._database, "run", twice)
    raised = await other.refuel("a", job.attempt, 300, 0.0)
    monkeypatch.undo()
    assert raised.refuelled == 310
    assert (await one.balance("default")).reserved == 1_310
    # And one that comes before it was recorded takes nothing for its own.

    async def late(work):
        await refuel_of_one("a", job.attempt, 300, 0.0)
        return await run(work)

    monkeypatch.setattr(other._database, "run", late)
    assert (await other.refuel("a", job.attempt, 300, 0.0)).refuelled == 910
    assert (await one.balance("default")).reserved == 1_910


async def test_what_is_raised_is_said_until_it_is_told(stores):
    """To the daemon that runs the job alone; one that is raised again meanwhile is said again."""
    one, other = stores
    job = await claimed(one)
    await other.refuel("a", job.attempt, 300, 0.0)
    before = await one.raised()
    assert (before, await other.raised()) == ([Raised("a", job.attempt, 300)], [])
    await other.refuel("a", job.attempt, 5, 0.0)
    await one.told(before)
    assert await one.raised() == [Raised("a", job.attempt, 305)]
    await one.told(await one.raised())
    assert await one.raised() == []
    await one.refuel("a", job.attempt, 5, 0.0, here=True)
    assert await one.raised() == []
    with pytest.raises(LimitTooHigh):
        await other.refuel("a", job.attempt, 5, 0.0, most=1_314)
    assert (await one.balance("default")).reserved == 1_310
    await one.finish([Finished("a", job.attempt, Outcome(status="out_of_fuel", fuel_used=1_310, attempts=1))])
    assert await other.refuel("a", job.attempt, 5, 0.0) is None
    balance = await other.balance("default")
    assert (balance.reserved, balance.spent) == (0, 1_310)


async def test_refuels_of_daemons_that_are_gone_are_forgotten(stores, postgres_url):
    """After a day; those of daemons that live are not."""
    one, other = stores
    job = await claimed(one)
    for store in stores:
        await store.refuel("a", job.attempt, 1, 0.0)
    await execute(postgres_url, "UPDATE wasmq_refuels SET at = now() - interval '2 days'")
    await execute(postgres_url, "DELETE FROM wasmq_daemons WHERE id = $1", other._owner)
    await one.tend()
    rows = await execute(postgres_url, "SELECT daemon FROM wasmq_refuels")
    assert [row["daemon"] for row in rows] == [one._owner]
