"""Hostile guests: each attack ends as its file says, and nobody else notices."""

from __future__ import annotations

import pytest
from arena import attack, attacks, beside_a_victim
from leaks import nothing_left
from watching import workers


@pytest.mark.parametrize("name", attacks("by_guests"))
async def test_an_attack_by_a_guest_is_contained(make_scheduler, name):
    """The victim's jobs in the same worker give the same result and fuel; no process ends, and nothing is left."""
    async with nothing_left(), make_scheduler() as scheduler:
        before = workers()
        async with beside_a_victim(scheduler):
            await attack("by_guests", name).attack(scheduler)
        assert workers() == before
