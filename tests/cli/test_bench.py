"""`wasmq bench`: its figures are about jobs that really ran."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq.cli.bench import _calls, _quantile


def test_it_runs_as_many_jobs_as_it_says(wasmq):
    """Every measurement runs the jobs asked for and gives a positive figure; --json is one object."""
    done = wasmq("bench", "--jobs", 60, "--workers", 1, "--json")
    report = msgspec.json.decode(done.stdout)

    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert report | {"workers": 1, "latency_jobs": 60, "map_jobs": 60, "concurrent_jobs": 60} == report
    assert 0 < report["latency_p50"] <= report["latency_p99"]
    assert min(report["map_rate"], report["concurrent_rate"]) > 0


def test_no_jobs_is_a_usage_error(wasmq):
    """There is nothing to measure without a job."""
    done = wasmq("bench", "--jobs", 0)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("count", [1, 7])
def test_calls_are_counted_out(count):
    """A measurement gets the number of calls asked for, each with arguments of its own."""
    calls = list(_calls(count))

    assert len(set(calls)) == len(calls) == count


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values(values, share):
    """At least the share asked for is at or below the quantile, and no smaller value has that property."""
    found = _quantile(values, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) * (1 - 1e-9)
    assert sum(value < found for value in values) <= share * len(values)
