"""The store in a SQLite file."""

import itertools

import pytest
from conformance import StoreContract

from wasmq.store import open_store


@pytest.fixture
async def open_file(tmp_path):
    """Open a store in a new file; it is closed at the end of the test."""
    numbers = itertools.count()
    opened = []

    async def opener(config, clock):
        store = open_store(f"sqlite:///{tmp_path}/jobs-{next(numbers)}.db", config, clock)
        await store.open()
        opened.append(store)
        return store

    yield opener
    for store in opened:
        await store.close()


class TestSQLiteStore(StoreContract):
    """Every promise of the contract."""

    @pytest.fixture
    def open_store(self, open_file):
        """How a store in a file is opened."""
        return open_file
