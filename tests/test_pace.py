"""How fast a core spends fuel: learned quickly from what runs fast, slowly from what had to wait."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq.pace import LEAST, NOMINAL, Pace


def test_it_begins_with_round_figures():
    """An interpreter takes several times as long for the same fuel."""
    assert Pace("native").seconds(NOMINAL["native"]) == 1.0
    assert Pace("interpreter").seconds(NOMINAL["native"], cores=2) == pytest.approx(
        NOMINAL["native"] / NOMINAL["interpreter"] / 2
    )


@pytest.mark.parametrize("true", [1e7, 2e9])
def test_it_comes_to_what_outcomes_show(true):
    """Whichever way the first figure was wrong."""
    pace = Pace("native")
    for _ in range(1_000):
        pace.learn(int(true), 1.0)
    assert pace.rate == pytest.approx(true, rel=1e-3)


def test_sharing_a_core_is_not_taken_for_a_slow_one():
    """Jobs that take turns run longer for the same fuel: one that had a core to itself outweighs several of them."""
    pace = Pace("native")
    for _ in range(50):
        pace.learn(10**8, 0.1)
    before = pace.rate
    for _ in range(20):
        pace.learn(10**8, 0.4)
    assert pace.rate > 0.8 * before
    pace.learn(10**9, 1.0)
    assert pace.rate > 0.85 * before


@pytest.mark.parametrize(
    "sample", [(LEAST - 1, 1.0), (10**9, 0.0), (10**9, -1.0), (10**9, math.nan), (10**9, math.inf)]
)
def test_what_says_nothing_is_not_learned(sample):
    """A job too short, or a time that cannot be."""
    pace = Pace("native")
    pace.learn(*sample)
    assert pace.rate == NOMINAL["native"]


@given(st.lists(st.tuples(st.integers(0, 2**63), st.floats(allow_nan=True, allow_infinity=True))))
def test_it_stays_a_pace_whatever_is_said(samples):
    """A worker in a guest's hands cannot make it zero, infinite or no number."""
    pace = Pace("native")
    for fuel, ran in samples:
        pace.learn(fuel, ran)
    assert 1e3 <= pace.rate <= 1e12


def test_what_a_worker_has_measured_takes_the_place_of_the_round_figure():
    """Lower or higher; of several workers the highest counts, for the others' cores were busy."""
    pace = Pace("native")
    pace.calibrate(1e8)
    assert pace.rate == 1e8
    pace.calibrate(3e8)
    pace.calibrate(2e8)
    assert pace.rate == 3e8


def test_what_jobs_have_shown_is_not_measured_away():
    """A worker that starts later has met none of them."""
    pace = Pace("native")
    pace.calibrate(1e8)
    pace.learn(10**9, 1.0)
    before = pace.rate
    pace.calibrate(5e9)
    assert pace.rate == before


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e13, math.inf, math.nan])
def test_a_pace_that_cannot_be_is_not_believed(rate):
    """A worker may say anything."""
    pace = Pace("interpreter")
    pace.calibrate(rate)
    assert pace.rate == NOMINAL["interpreter"]
