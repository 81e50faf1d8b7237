"""What a client may send, how long it may take, and how far it may run ahead, on real connections."""

from __future__ import annotations

import re

import pytest
from serving import served

from wasmq.job import Outcome
from wasmq.server.wire import MAX_AHEAD, MAX_HEADERS

DONE = Outcome(status="succeeded")


def request(line, *headers, body=b""):
    """Return a request as it travels."""
    return "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *headers]).encode() + b"\r\n\r\n" + body


async def status(reader):
    """Return the status of the next answer."""
    return int((await reader.readuntil(b"\r\n\r\n")).split()[1])


@pytest.mark.parametrize("begun", [b"G", b"GET /livez HTTP/1.1\r\nHost: local"], ids=["line", "header"])
async def test_a_head_that_takes_too_long_is_408(make_scheduler, begun):
    """Who has begun a request and does not go on is told so, and the connection ends."""
    async with served(make_scheduler(port=0, head_timeout=0.05)) as connect:
        reader = await connect(begun)
        assert await status(reader) == 408
        assert await reader.read() == b""


@pytest.mark.parametrize("begun", [b"", b"\r\n\r\n"], ids=["nothing", "line ends"])
async def test_a_connection_without_a_request_ends_without_a_word(make_scheduler, begun):
    """An answer to nothing could be taken for the answer to a request that is just being sent."""
    async with served(make_scheduler(port=0, head_timeout=0.05)) as connect:
        assert await (await connect(begun)).read() == b""


async def test_line_ends_after_an_answer_do_not_keep_a_connection(make_scheduler):
    """They are no request, and stop no clock for good."""
    async with served(make_scheduler(port=0, head_timeout=0.05)) as connect:
        reader = await connect(request("GET /livez") + b"\r\n")
        assert await status(reader) == 200
        assert (await reader.read()).endswith(b"}")


async def test_a_body_that_takes_too_long_is_408(make_scheduler):
    """The same for a body, after a head that came in time."""
    async with served(make_scheduler(port=0, body_timeout=0.05)) as connect:
        reader = await connect(request("POST /v1/jobs", "Content-Length: 10", body=b"{"))
        assert await status(reader) == 408
        assert await reader.read() == b""


async def test_a_request_that_has_come_may_wait_as_long_as_it_likes(make_scheduler, digest):
    """The bounds are on what a client sends: an answer that is long in coming still comes."""
    scheduler = make_scheduler(port=0, head_timeout=0.05, body_timeout=0.05)
    async with served(scheduler) as connect:
        body = f'{{"module":"{digest}","export":"nothing"}}'.encode()
        assert await status(await connect(request("POST /v1/jobs", f"Content-Length: {len(body)}", body=body))) == 202
        waiting = await connect(request("GET /v1/jobs/job-1?wait=60"))
        await scheduler.waiting.wait()
        # A later connection has come to its end: so the time of the earlier one is over too.
        assert await (await connect(b"")).read() == b""
        scheduler.finish("job-1", DONE)
        assert await status(waiting) == 200


async def test_a_body_behind_a_request_that_waits_is_not_held_against_its_sender(make_scheduler, digest):
    """While the daemon reads nothing, because an earlier answer is due, a later request's time does not end it."""
    scheduler = make_scheduler(port=0, head_timeout=0.05, body_timeout=0.05)
    async with served(scheduler) as connect:
        body = f'{{"module":"{digest}","export":"nothing"}}'.encode()
        later = request("POST /v1/jobs", f"Content-Length: {len(body)}")
        assert await status(await connect(later + body)) == 202
        both = await connect(request("GET /v1/jobs/job-1?wait=60") + later + body[:5])
        await scheduler.waiting.wait()
        assert await (await connect(b"")).read() == b""
        scheduler.finish("job-1", DONE)
        assert await status(both) == 200


async def test_requests_ahead_of_their_answers_are_answered_in_order(make_scheduler):
    """As many as may wait behind the first are all answered, each with its own answer."""
    async with served(make_scheduler(port=0)) as connect:
        lines = [request("GET /livez"), request("GET /nothing")] * (MAX_AHEAD // 2)
        answers = await (await connect(b"".join(lines) + request("GET /livez", "Connection: close"))).read()
        assert [int(code) for code in re.findall(rb"HTTP/1.1 (\d+)", answers)] == [200, 404] * (MAX_AHEAD // 2) + [200]


async def test_more_requests_ahead_of_their_answers_end_the_connection(make_scheduler):
    """A client that reads no answers cannot make the daemon take thousands of requests apart at once."""
    scheduler = make_scheduler(port=0)
    async with served(scheduler) as connect:
        answers = await (await connect(request("GET /livez") * (MAX_AHEAD + 2))).read()
        assert answers.count(b"HTTP/1.1 ") <= 1 + MAX_AHEAD
        assert b" 400 " not in answers


async def test_what_is_no_request_is_not_answered_in_the_place_of_one_that_waits(make_scheduler, digest):
    """Its 400 would be taken for the answer to the request before it."""
    scheduler = make_scheduler(port=0)
    async with served(scheduler) as connect:
        body = f'{{"module":"{digest}","export":"nothing"}}'.encode()
        job = request("POST /v1/jobs", f"Content-Length: {len(body)}", body=body)
        assert await status(await connect(job)) == 202
        assert await (await connect(request("GET /v1/jobs/job-1?wait=60") + b"garbage\r\n\r\n")).read() == b""
        assert await status(await connect(b"garbage\r\n\r\n")) == 400


async def test_more_headers_than_a_request_may_have_are_431(make_scheduler):
    """A head of few bytes can have very many of them, and each is work."""
    async with served(make_scheduler(port=0)) as connect:
        headers = ["X: y"] * (MAX_HEADERS - 2)
        assert await status(await connect(request("GET /livez", *headers, "Connection: close"))) == 200
        reader = await connect(request("GET /livez", *headers, "X: y", "Connection: close"))
        assert await status(reader) == 431
        assert await reader.read() == b""
