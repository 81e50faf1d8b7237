"""The store on PostgreSQL keeps the contract of every store."""

import pytest
from conformance import StoreContract
from hypothesis import settings
from machine import store_machine
from postgres import make_schema, server_url

from wasmq.store import SharedStore, open_store


class TestPostgresStore(StoreContract):
    """Every promise of the contract."""

    @pytest.fixture
    async def open_store(self, postgres_url):
        """How a store on PostgreSQL is opened; closed when the test is over."""
        stores = []

        async def open_postgres(config, clock):
            store = open_store(postgres_url, config, clock)
            await store.open()
            stores.append(store)
            return store

        yield open_postgres
        for store in stores:
            await store.close()

    async def test_it_says_what_it_is(self, store):
        """The scheduler must know that its jobs outlive the process, and that others use it too."""
        assert store.durable
        assert isinstance(store, SharedStore)


async def open_another(config, clock):
    """A store in a schema of its own, which goes with the server, or is left to whoever gave one."""
    store = open_store(await make_schema(server_url()), config, clock)
    await store.open()
    return store


async def open_after(store, config, clock, crash):
    """A store in the same schema after another one was closed, or has not been heard of until its lease lapsed."""
    if crash:
        await store._database.execute("UPDATE wasmq_daemons SET lapses_at = '-infinity'")
        await store._database.close()
    else:
        await store.close()
    after = open_store(store._database._url, config, clock)
    return after, await after.open()


@pytest.mark.usefixtures("postgres_server")
class TestPostgresMachine(store_machine(open_another, open_after).TestCase):
    """Anything in any order."""

    settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
