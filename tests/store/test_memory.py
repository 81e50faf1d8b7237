"""The store in memory keeps the contract of every store."""

import pytest
from conformance import StoreContract
from hypothesis import settings
from machine import store_machine

from wasmq.store import MemoryStore, open_store


async def open_memory(config, clock):
    """An empty store in memory."""
    store = open_store("memory://", config, clock)
    await store.open()
    return store


class TestMemoryStore(StoreContract):
    """Every promise of the contract."""

    @pytest.fixture
    def open_store(self):
        """How a store in memory is opened."""
        return open_memory

    def test_it_says_that_it_forgets(self):
        """The scheduler must know that its jobs end with the process."""
        assert MemoryStore.durable is False


TestMemoryMachine = store_machine(open_memory).TestCase
TestMemoryMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
