"""When a cron expression fires, also where clocks change."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from clocks import NOON
from hypothesis import given
from hypothesis import strategies as st

from wasmq.cron import Cron

BERLIN = "Europe/Berlin"  # 2026: an hour is skipped at 2:00 on 29 March, and comes twice at 3:00 on 25 October


def at(text, zone=BERLIN, fold=0):
    """The seconds since 1970 of a time by the clocks of a place."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def firings(cron, start, count):
    """The next firings after a time, as UTC."""
    found = []
    for _ in range(count):
        start = cron.after(start)
        found.append(datetime.fromtimestamp(start, UTC).strftime("%d %H:%M"))
    return found


def test_a_day_has_one_firing_whatever_the_clocks_do():
    """At a fixed time: when it is skipped, at the end of the skipped hour; when it comes twice, the first time."""
    daily = Cron("30 2 * * *", BERLIN)
    assert firings(daily, at("2026-03-28T00:00"), 3) == ["28 01:30", "29 01:00", "30 00:30"]
    assert firings(daily, at("2026-10-24T00:00"), 3) == ["24 00:30", "25 00:30", "26 01:30"]


def test_an_interval_goes_by_the_time_that_passes():
    """Every half hour is every half hour, over both changes."""
    half_hours = Cron("*/30 * * * *", BERLIN)
    assert firings(half_hours, at("2026-03-29T01:10"), 3) == ["29 00:30", "29 01:00", "29 01:30"]
    assert firings(half_hours, at("2026-10-25T02:10"), 4) == ["25 00:30", "25 01:00", "25 01:30", "25 02:00"]


def test_in_the_second_of_two_equal_hours_a_fixed_time_is_over():
    """It fires the next day, and never in the past."""
    daily = Cron("30 2 * * *", BERLIN)
    assert firings(daily, at("2026-10-25T02:15", fold=1), 1) == ["26 01:30"]


@pytest.mark.parametrize("expression", ["* * * * *", "*/7 * * * *", "30 2 * * *", "15 */2 * * 1-5", "0 0 1 * *"])
@pytest.mark.parametrize("zone", ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe"])
@given(offset=st.integers(0, 366 * 86400), ahead=st.floats(0, 3 * 86400))
def test_the_last_firing_is_one_of_those_that_come_one_after_the_other(expression, zone, offset, ahead):
    """Whoever looks back names a firing by the same time as whoever was there for each of them."""
    cron = Cron(expression, zone)
    start = NOON - offset
    first = cron.after(start)
    assert first > start
    now = first + ahead
    last = cron.last(first, now)
    assert first <= last <= now < cron.after(last)
    assert cron.after(last - 0.5) == last


@pytest.mark.parametrize(
    ("expression", "zone", "why"),
    [
        ("* * * *", "UTC", "is no cron expression: Wrong number of fields"),
        ("61 * * * *", "UTC", "is no cron expression: Bad minute"),
        ("0 0 30 2 *", "UTC", "is no cron expression: Bad day-of-month"),
        ("", "UTC", "is no cron expression"),
        ("* * * * *", "Europe/Atlantis", "is no time zone"),
        ("* * * * *", "../../etc/passwd", "is no time zone"),
        ("* * * * *", "", "is no time zone"),
    ],
)
def test_what_cannot_be_understood_is_one_line(expression, zone, why):
    """It quotes what was given."""
    with pytest.raises(ValueError, match=why) as raised:
        Cron(expression, zone)
    assert "\n" not in str(raised.value)
