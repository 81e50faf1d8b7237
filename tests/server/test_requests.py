"""Bodies of requests, read or refused."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmq.job import Limits
from wasmq.server.requests import InvalidBody, JobRequest, MalformedBody, decode


@given(st.binary(max_size=200))
def test_any_bytes_are_a_body_or_are_refused(body):
    """Whatever bytes come, reading them as a job gives a job or one of the two refusals."""
    with suppress(MalformedBody, InvalidBody):
        assert isinstance(decode(msgspec.json.Decoder(JobRequest), body), JobRequest)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", MalformedBody),
        (b"{", MalformedBody),
        (b'{"module":"\xff"}', MalformedBody),
        (b'{"module":"m","export":"e","args":' + b"[" * 100_000, MalformedBody),
        (b"[]", InvalidBody),
        (b'{"module":"m","export":"e","args":[1e999]}', InvalidBody),
        (b'{"module":"m","export":"e","unknown":1}', InvalidBody),
        (b'{"module":"m","export":"e","limits":{"cpu":1}}', InvalidBody),
        (b'{"module":"m","export":"e","limits":{"fuel":"many"}}', InvalidBody),
        (b'{"module":"m","export":"e","tenant":""}', InvalidBody),
        (b'{"module":"m","export":"e","delay":-1}', InvalidBody),
        (b'{"module":"m","export":"e","priority":1001}', InvalidBody),
    ],
)
def test_a_bad_body_says_which_kind_of_bad(body, error):
    """What is not JSON is told apart from JSON that is not a job."""
    with pytest.raises(error):
        decode(msgspec.json.Decoder(JobRequest), body)


def test_limits_take_fuel_as_text_too():
    """Fuel beyond 53 bits reaches the core exactly when it comes as a decimal string."""
    body = b'{"module":"m","export":"e","limits":{"fuel":"9007199254740993","memory":"1MiB","output":64}}'
    limits = decode(msgspec.json.Decoder(JobRequest), body).limits.limits()
    assert limits == Limits(fuel=9007199254740993, memory="1MiB", output=64)
