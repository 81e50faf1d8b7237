"""The client where the way to the daemon is bad: nothing is lost for it, and nothing runs twice."""

from __future__ import annotations

import importlib
import sys

import anyio
import anyio.lowlevel
import httpx
import msgspec
import pytest

import wasmq
from wasmq import errors
from wasmq.config import configured
from wasmq.connection import Connection
from wasmq.remote import error_of
from wasmq.server import build_app, problems


class BadWay(httpx.AsyncBaseTransport):
    """A way to `app` on which the answers to some requests are lost, or other ones given; `seen` has every request."""

    def __init__(self, app):
        self._way = httpx.ASGITransport(app=app)
        self.seen = []
        self.mishaps = []

    async def handle_async_request(self, request):
        self.seen.append((request.method, request.url.path))
        mishap = self.mishaps.pop(0) if self.mishaps else None
        if mishap == "never sent":
            raise httpx.ConnectError("refused", request=request)
        if isinstance(mishap, httpx.Response):
            return mishap
        response = await self._way.handle_async_request(request)
        if mishap == "answer lost":
            await response.aread()
            raise httpx.ReadError("reset", request=request)
        return response


def later(status, problem="queue-full", after="0"):
    body = {"type": f"urn:wasmq:{problem}", "title": "Later", "status": status, "detail": "later"}
    return httpx.Response(status, json=body, headers={"Retry-After": after} if after is not None else {})


async def test_a_job_whose_acceptance_was_not_heard_of_runs_once(make_scheduler, guests):
    """When the answer to a submission is lost it is sent again, and it is still one job."""
    async with make_scheduler() as scheduler:
        way = BadWay(build_app(scheduler))
        async with wasmq.Client("http://localhost", transport=way) as client:
            module = await client.load(guests / "mul.wat")
            way.mishaps = ["answer lost", "never sent", "answer lost"]
            handle = await client.submit(module, "mul", 2, 4)
            way.mishaps = ["answer lost", later(503, "scheduler-closed")]
            assert (await handle).value == 8
            way.mishaps = ["answer lost"]
            assert (await client.run(module, "mul", 3, 4)).value == 12
            way.mishaps = ["answer lost", "answer lost"]
            assert [outcome.value async for outcome in client.map(module, "mul", [(n, n) for n in range(5)])] == [
                n * n for n in range(5)
            ]
            assert len(await scheduler.jobs()) == 7


async def test_fuel_whose_arrival_was_not_heard_of_is_not_sent_again(make_scheduler, guests):
    """When the answer is lost nobody knows whether it came, so the caller is told; what was never sent is sent."""
    async with make_scheduler() as scheduler:
        way = BadWay(build_app(scheduler))
        async with wasmq.Client("http://localhost", transport=way) as client:
            module = await client.load(guests / "loop.wat")
            limits = wasmq.Limits(fuel=1_000)
            job = await client.submit(module, "burn", 30_000, limits=limits, on_exhausted="suspend")
            while not (await client.job(job.id)).suspended:
                await anyio.lowlevel.checkpoint()
            way.mishaps = ["answer lost"]
            with pytest.raises(wasmq.Unreachable):
                await job.refuel(9_000)
            way.mishaps = ["never sent"]
            assert await job.refuel(50_000) == 60_000
            assert (await job).fuel_used == (await client.run(module, "burn", 30_000)).fuel_used


async def test_a_full_queue_is_tried_again(make_scheduler, guests):
    """429 with Retry-After is waited out, unless the caller does not want to wait; without it, it is final."""
    async with make_scheduler() as scheduler:
        way = BadWay(build_app(scheduler))
        async with wasmq.Client("http://localhost", transport=way) as client:
            module = await client.load(guests / "mul.wat")
            way.mishaps = [later(429)] * 3
            assert (await client.run(module, "mul", 2, 4)).value == 8
            way.mishaps = [later(429)]
            with pytest.raises(wasmq.QueueFull, match="later"):
                await client.submit(module, "mul", 2, 4, wait=False)
            way.mishaps = [later(429, "budget-exhausted", None)]
            with pytest.raises(wasmq.BudgetExhausted):
                await client.submit(module, "mul", 2, 4)


async def test_trying_comes_to_an_end(make_scheduler):
    """After `retry_for` seconds the last problem is raised; with none of them at once."""
    way = BadWay(None)
    async with wasmq.Client("http://localhost", transport=way, retry_for=0.3) as client:
        way.mishaps = ["never sent"] * 100
        with pytest.raises(wasmq.Unreachable, match="http://localhost: no daemon answers: refused"):
            await client.job("a")
        assert 2 < len(way.seen) < 20
    way = BadWay(None)
    async with wasmq.Client("http://localhost", transport=way, retry_for=0.0) as client:
        way.mishaps = [later(503, "scheduler-closed")]
        with pytest.raises(wasmq.SchedulerClosed):
            await client.job("a")
        assert len(way.seen) == 1


async def test_a_wait_outlives_its_requests(make_scheduler, guests):
    """Waiting goes on over lost connections until the job has ended."""
    async with make_scheduler() as scheduler:
        way = BadWay(build_app(scheduler))
        async with wasmq.Client("http://localhost", transport=way) as client:
            module = await client.load(guests / "loop.wat")
            limits = wasmq.Limits(fuel=10**12, timeout=0.5)
            handle = await client.submit(module, "spin", limits=limits)
            way.mishaps = ["never sent", later(503, "scheduler-closed"), "never sent"]
            with anyio.fail_after(10):
                assert (await handle).status == "timed_out"
            assert (await handle).status == "timed_out"


async def test_events_go_on_over_a_lost_connection(make_scheduler, guests):
    """A stream that breaks is taken up where it broke: no state and no byte comes twice."""
    async with make_scheduler() as scheduler:
        way = BadWay(build_app(scheduler))
        async with wasmq.Client("http://localhost", transport=way) as client:
            module = await client.load(guests / "wasi" / "hello.wasm")
            handle = await client.submit(module)
            outcome = await handle
            half = (
                b'id: 1.5.0\nevent: output\ndata: {"event":"output","attempt":1,"stream":"stdout","offset":0,"data":"'
            )
            import base64

            half += base64.b64encode(outcome.stdout[:5]) + b'"}\n\nid: 1.5'
            way.mishaps = ["never sent", httpx.Response(200, content=half)]
            events = [event async for event in handle.events()]
            told = b"".join(e.data for e in events if isinstance(e, wasmq.JobOutput) and e.stream == "stdout")
            assert told == outcome.stdout
            assert events[-1] == wasmq.JobFinished(outcome)


@pytest.mark.parametrize("status", [200, 404, 502])
async def test_what_is_no_daemon_is_said_so(status):
    """Another server at the URL is `Unreachable`, whatever it answers."""
    way = BadWay(None)
    async with wasmq.Client("http://localhost", transport=way, retry_for=0.0) as client:
        way.mishaps = [httpx.Response(status, text="<html>hello")]
        with pytest.raises(wasmq.Unreachable, match="not one of a wasmq daemon"):
            await client.job("a")


@pytest.mark.parametrize("kind", [kind for kind in problems.STATUSES if kind.__module__ == errors.__name__])
def test_every_problem_is_an_error_again(kind):
    """What the daemon raised, the client raises, with the same words."""
    problem = problems.problem_of(kind("the words"))
    error = error_of(problem.status, msgspec.json.encode(problem))
    assert (type(error), str(error)) == (kind, "the words")


def test_a_problem_of_a_later_daemon_is_an_error_too():
    """A type that is not known here is still an error of wasmq, with its words."""
    body = b'{"type":"urn:wasmq:something-new","title":"New","status":418,"detail":"the words"}'
    error = error_of(418, body)
    assert isinstance(error, wasmq.WasmqError)
    assert str(error) == "the words"


@pytest.mark.parametrize("url", ["localhost:8787", "ftp://localhost", "", "/run/wasmq.sock"])
def test_a_url_has_a_scheme(url):
    """What is no URL of a daemon is said at once."""
    with pytest.raises(wasmq.ConfigError, match="is not the URL of a daemon"):
        wasmq.Client(url)


async def test_a_client_is_open_only_inside():
    """Before and after its block a client says that it is not open."""
    client = wasmq.Client("http://localhost")
    with pytest.raises(wasmq.SchedulerClosed):
        await client.jobs()
    async with client:
        pass
    with pytest.raises(wasmq.SchedulerClosed):
        await client.jobs()


async def test_without_httpx_it_is_one_clear_line(monkeypatch):
    """Where the extra is not installed, the error says how to get it."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(wasmq.ConfigError, match=r"pip install 'wasmq\[client\]'"):
        async with wasmq.Client("http://localhost"):
            pass
    importlib.invalidate_caches()


async def test_a_token_goes_with_every_request():
    """The token is sent as a bearer token; a daemon that refuses it raises what it says."""
    seen = []

    def answer(request):
        seen.append(request.headers["authorization"])
        return later(401, "unauthenticated", None)

    async with wasmq.Client("http://localhost", token="secret", transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(wasmq.Unauthenticated):
            await client.jobs()
    assert seen == ["Bearer secret"]


async def test_pauses_grow_and_differ(monkeypatch):
    """No two who failed at once try again at once, and each waits longer from time to time."""
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    connection = Connection(
        "http://localhost",
        token=None,
        timeout=1.0,
        retry_for=1e9,
        transport=httpx.MockTransport(lambda request: later(503) if len(pauses) < 12 else httpx.Response(200)),
    )
    await connection.open()
    await connection.ask("GET", "/")
    await connection.close()
    assert len(set(pauses)) == 12
    assert pauses[0] < 0.06
    assert min(pauses[-5:]) >= 1.0
    assert max(pauses) <= 2.0


async def test_a_deadline_goes_over_the_wire(make_scheduler, config, guests):
    """With what was expected of it when it was accepted; a refusal is the same error as in the daemon's own process."""
    flagging = configured(config, {"scheduler.deadlines": "flag"})
    for each, is_flagged in ((config, False), (flagging, True)):
        async with make_scheduler(config=each) as scheduler:
            way = httpx.ASGITransport(app=build_app(scheduler))
            async with wasmq.Client("http://localhost", transport=way) as client:
                loop = await client.load(guests / "loop.wat")
                await client.run(loop, "burn", 10_000_000)
                handle = await client.submit(loop, "burn", 1, deadline=60.0)
                assert handle.at_risk is False
                job = await client.job(handle.id)
                assert job.deadline == pytest.approx(job.submitted_at + 60.0, abs=0.01)
                assert (await handle).status == "succeeded"
                with pytest.raises(wasmq.InvalidArguments, match="deadline"):
                    await client.submit(loop, "burn", 1, deadline=5.0, delay=6.0)
                assert (await client.estimate(loop, "burn")).outcomes == 2
                if not is_flagged:
                    with pytest.raises(wasmq.DeadlineUnmeetable):
                        await client.submit(loop, "burn", 1, deadline=0.0001)
                    continue
                handle = await client.submit(loop, "burn", 10_000_000, deadline=0.0001)
                assert handle.at_risk is True
                assert (await handle).status == "timed_out"
