"""The simulation of many tenants on the real queue, in small."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.simulate import Simulation, jain


@pytest.fixture(scope="module")
def result():
    """A run of a few thousand jobs."""
    return Simulation(jobs=5_000, tenants=50, workers=5, seed=1).run()


def test_shares_follow_weights(result):
    """Tenants that always have work waiting get fuel by their weights, all jobs end, and the rare ones hardly wait."""
    assert result.jobs == sum(len(waits) for waits in result.waits.values()) == 5_000
    assert result.index > 0.98
    middle = {kind: sorted(waits)[len(waits) // 2] for kind, waits in result.waits.items()}
    assert middle["occasional"] < middle["busy"] < middle["budgeted"]


def test_the_books_balance(result):
    """Each account has spent what its jobs used, holds nothing at the end, and was granted no more than its terms."""
    assert len(result.balances) == 5
    assert result.problems() == []
    name, balance = next(iter(result.balances.items()))
    false = {**result.balances, name: msgspec.structs.replace(balance, spent=balance.spent + 1)}
    assert any(name in line for line in msgspec.structs.replace(result, balances=false).problems())


def test_the_same_seed_is_the_same_run():
    """A run depends on its seed alone."""
    one, other = (Simulation(jobs=300, tenants=20, workers=2, seed=4).run() for _ in range(2))
    assert one.waits == other.waits
    assert one.tenants == other.tenants


def test_the_index_of_unequal_shares():
    """It is 1 for equal shares, and 1/n when one has all."""
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([0.0, 0.0, 5.0, 0.0]) == pytest.approx(0.25)
