"""What is logged of refusals is bounded, whoever is refused and however often."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import served

from wasmq.server.refusals import LINES, Refusals

REASONS = ("one", "other")


@pytest.fixture
def lines(caplog):
    """Return what has been logged."""
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_client_has_a_line_for_each_reason(lines):
    """The second time it is counted, and the count is logged when the interval ends; then it begins anew."""
    refusals = Refusals()
    for _ in range(2):
        refusals.note("one", "10.0.0.1")
        refusals.note("other", "10.0.0.1")
        refusals.note("one", "10.0.0.2")
    assert lines() == [
        "http.refused client=10.0.0.1 reason=one",
        "http.refused client=10.0.0.1 reason=other",
        "http.refused client=10.0.0.2 reason=one",
    ]
    refusals.turn()
    assert re.fullmatch(r"http\.refused suppressed=3 reasons=.*one.*2.*other.*1.*", lines()[3])
    refusals.turn()
    refusals.note("one", "10.0.0.1")
    assert lines()[4:] == ["http.refused client=10.0.0.1 reason=one"]


@given(st.lists(st.tuples(st.sampled_from(REASONS), st.integers(0, 1_000)), max_size=200))
def test_any_number_of_clients_is_so_many_lines(came):
    """Whoever comes, an interval has its lines and one that counts: what was said and what was not add up."""
    refusals, said = Refusals(), []
    refusals._log = type("Log", (), {"bind": lambda self, **_: self, "warning": lambda _, *__, **f: said.append(f)})()
    for reason, client in came:
        refusals.note(reason, f"10.0.{client >> 8}.{client & 255}")
    refusals.turn()
    assert len(said) <= LINES + 1
    assert sum(line.get("suppressed", 1) for line in said) == len(came)


async def test_what_is_no_request_is_logged_once(make_scheduler, lines):
    """Garbage and wishes for other protocols, again and again on one connection after the other."""
    upgrade = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with served(make_scheduler(port=0)) as connect:
        for data in (b"\0garbage\r\n\r\n", upgrade):
            for _ in range(30):
                reader = await connect(data)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 ")
        assert all(line.startswith("http.refused client=127.0.0.1 reason=") for line in lines())
        assert len(lines()) == 2
    assert "suppressed=" in lines()[-1]
