"""The list of advisories, and what is said of a version by it."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq.doctor.advisories import STALE, Advisories, Advisory, judge, known, parse

LISTED = known()
TODAY = LISTED.dated


def test_the_list_is_sound() -> None:
    """Each advisory is there once, under a GitHub id, with fixes in order, none dated after the list."""
    ids = [each.id for each in LISTED.advisory]
    assert len(set(ids)) == len(ids) > 20
    for each in LISTED.advisory:
        assert re.fullmatch(r"GHSA(-[23456789cfghjmpqrvwx]{4}){3}", each.id)
        fixes = [parse(text) for text in each.fixed]
        assert fixes == sorted(fixes)
        assert len({fix[0] for fix in fixes}) == len(fixes)
        assert parse(each.introduced) < fixes[0]
        assert each.date <= LISTED.dated
        assert each.title


@pytest.mark.parametrize("advisory", LISTED.advisory, ids=lambda each: each.id)
def test_a_version_is_good_from_its_fix_on(advisory: Advisory) -> None:
    """The fixed version of each line is good, the one before it is not, and every later line is."""
    for text in advisory.fixed:
        major, minor, patch = parse(text)
        assert not advisory.affects((major, minor, patch))
        assert advisory.affects((major, minor, patch - 1))
    newest = max(parse(text) for text in advisory.fixed)
    assert not advisory.affects((newest[0] + 1, 0, 0))


@given(major=st.integers(0, 60), minor=st.integers(0, 3), patch=st.integers(0, 20))
def test_a_cured_version_has_it_no_more(major: int, minor: int, patch: int) -> None:
    """What is advised cures: the version that is named does not have the advisory."""
    version = (major, minor, patch)
    for advisory in LISTED.advisory:
        if advisory.affects(version):
            assert advisory.cure(version) > version
            assert not advisory.affects(advisory.cure(version))


def listed(part: str = "engine", **fields: object) -> Advisories:
    """A list of one."""
    given = {"id": "GHSA-2222-3333-4444", "title": "A hole", "date": TODAY, "fixed": ("9.0.2",), "part": part, **fields}
    return Advisories(TODAY, (Advisory(**given),))  # type: ignore[arg-type]


def test_a_hole_that_a_guest_can_use_fails() -> None:
    """It is named with what to install."""
    (finding,) = judge("9.0.1", listed(), TODAY)
    assert (finding.health, finding.advice) == ("failed", "install wasmtime 9.0.2 or later")
    assert "GHSA-2222-3333-4444: A hole" in finding.detail


def test_a_hole_that_no_guest_can_use_is_only_told() -> None:
    """What wasmq does not use is named, and nothing fails for it."""
    (finding,) = judge("9.0.1", listed("http"), TODAY)
    assert finding.health == "ok"
    assert "GHSA-2222-3333-4444" in finding.detail


def test_a_version_before_the_hole_is_good() -> None:
    """What came in later is not in it."""
    assert judge("8.9.9", listed(introduced="9.0.0"), TODAY)[0].health == "ok"
    assert judge("9.0.0", listed(introduced="9.0.0"), TODAY)[0].health == "failed"


def test_an_old_list_says_so() -> None:
    """After some months without a look at the source, silence means nothing."""
    assert [each.health for each in judge("9.0.2", listed(), TODAY + timedelta(days=STALE))] == ["ok"]
    assert [each.check for each in judge("9.0.2", listed(), TODAY + timedelta(days=STALE + 1))] == [
        "engine",
        "advisories",
    ]


@pytest.mark.parametrize("version", ["none", "unknown", "50.0", "50.0.1.dev0"])
def test_a_version_that_cannot_be_compared_fails(version: str) -> None:
    """Nothing is assumed of it."""
    (finding,) = judge(version, LISTED, date(2026, 11, 22))
    assert finding.health == "failed"
