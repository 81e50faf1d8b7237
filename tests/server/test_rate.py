"""How often one caller may ask."""

from __future__ import annotations

import httpx
from hypothesis import given
from hypothesis import strategies as st

from wasmq.server import build_app
from wasmq.server.rate import Rates


@given(
    st.floats(0.1, 1_000), st.integers(1, 50), st.lists(st.floats(0, 5, allow_subnormal=False), min_size=1, max_size=80)
)
def test_no_more_than_the_bucket_has(rate, burst, pauses):
    """By any time no more went through than the burst and what the rate has added; who waits as told is let in."""
    rates, now, passed = Rates(rate, burst), 0.0, 0
    for pause in pauses:
        now += pause
        after = rates.take(b"a", now)
        passed += not after
        assert passed <= burst + rate * now + 1e-6
        if after:
            assert rates.take(b"a", now + after * (1 + 1e-9) + 1e-9) == 0.0
            now, passed = now + after * (1 + 1e-9) + 1e-9, passed + 1


def test_callers_do_not_share():
    """What one has used up is there for another."""
    rates = Rates(1.0, 1)
    assert [rates.take(b"a", 0.0), rates.take(b"b", 0.0)] == [0.0, 0.0]
    assert rates.take(b"a", 0.25) == 0.75
    assert rates.take(b"a", 0.0) == 1.0 - 0.25  # a clock that went back adds nothing


async def test_who_is_too_fast_is_told_when(make_scheduler):
    """The answer is 429 with the seconds in Retry-After; probes are answered all the same."""
    transport = httpx.ASGITransport(app=build_app(make_scheduler(requests_per_second=0.01, requests_burst=2)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert [(await http.get("/v1/modules")).status_code for _ in range(2)] == [200, 200]
        late = await http.get("/v1/modules")
        assert (late.status_code, late.json()["type"]) == (429, "urn:wasmq:too-fast")
        assert 90 <= int(late.headers["retry-after"]) <= 100
        assert (await http.get("/livez")).status_code == 200
