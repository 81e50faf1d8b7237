"""Hostile clients: each attack ends as its file says, and nobody else notices."""

from __future__ import annotations

import pytest
from arena import attack, attacks
from clients import beside_a_victim, configuration
from daemons import daemon
from watching import workers


@pytest.mark.parametrize("name", attacks("by_clients"))
async def test_an_attack_by_a_client_is_contained(cache, caplog, name):
    """Another tenant's answers stay the same; no worker ends, nothing fails, and the daemon stops in good order."""
    with daemon(configuration(cache)) as under_attack:
        before = workers()
        async with beside_a_victim(under_attack):
            await attack("by_clients", name).attack(under_attack)
        assert workers() == before
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
