"""What is said of a machine, for machines of every kind."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from wasmq.config import Config, LimitCeilings, LimitsConfig, SchedulerConfig, Size
from wasmq.doctor import machine
from wasmq.doctor.machine import Facts, facts, judge

SINCE = date(2026, 11, 22)
GIB = 2**30
GOOD = Facts(65_530, 64 * GIB, None, 4, 1.9e9, 0.0, True, {"store (/var)": 100 * GIB})


def healths(found: Facts, config: Config | None = None) -> dict[str, str]:
    """Check → how it stands."""
    return {each.check: each.health for each in judge(found, config or Config(), SINCE)}


def test_a_good_machine_is_fine() -> None:
    """Nothing to say, and nothing to do."""
    findings = judge(GOOD, Config(), SINCE)
    assert {each.health for each in findings} == {"ok"}
    assert {each.advice for each in findings} == {""}


def test_this_machine_can_be_read() -> None:
    """Facts come from the machine itself, whatever it is, and give a finding for each check."""
    found = facts({"here": Path("/")})
    assert found.memory > 0
    assert found.cores > 0
    assert abs(found.drift) < 60
    assert list(found.disks) == ["here (/)"]
    assert set(healths(found)) == {"vm.max_map_count", "memory", "clock", "disk"}


@pytest.mark.parametrize(("limit", "health"), [(17_999, "failed"), (18_000, "ok"), (None, "warning")])
def test_memory_mappings_are_enough_for_the_instances(limit: int | None, health: str) -> None:
    """Four for each instance and those of the worker itself; the advice is the setting."""
    finding = machine.mappings(limit, 4_000)
    assert finding.health == health
    if health == "failed":
        assert finding.advice.startswith("sysctl vm.max_map_count=18000")


def test_memory_is_that_of_the_cgroup_where_it_is_less() -> None:
    """One job at its ceiling in each worker is the least that must fit."""
    assert healths(GOOD._replace(memory_limit=3 * GIB))["memory"] == "warning"
    assert healths(GOOD._replace(memory_limit=4 * GIB))["memory"] == "ok"
    assert healths(GOOD._replace(memory=3 * GIB))["memory"] == "warning"
    two = Config(scheduler=SchedulerConfig(workers=2))
    assert healths(GOOD._replace(memory=3 * GIB), two)["memory"] == "ok"
    small = Config(limits=LimitsConfig(max=LimitCeilings(memory=Size(2**28))))
    assert healths(GOOD._replace(memory=1 * GIB), small)["memory"] == "ok"


@pytest.mark.parametrize(
    ("change", "health"),
    [
        ({"now": 0.0}, "failed"),
        ({"drift": 0.5}, "warning"),
        ({"drift": -0.5}, "warning"),
        ({"synchronised": False}, "warning"),
        ({"synchronised": None}, "ok"),
    ],
)
def test_a_clock_is_in_the_present_even_and_synchronised(change: dict[str, object], health: str) -> None:
    """One before this program was written is wrong; one that jumps or runs free may be."""
    assert healths(GOOD._replace(**change))["clock"] == health  # type: ignore[arg-type]


@pytest.mark.parametrize(("free", "health"), [(2**25, "failed"), (2**29, "warning"), (2**30, "ok")])
def test_there_is_room_on_each_disk(free: int, health: str) -> None:
    """Where nothing can be written, nothing is accepted."""
    assert machine.disk("store", free).health == health
