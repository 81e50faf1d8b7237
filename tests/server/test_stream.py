"""The stream of events, over real connections."""

from __future__ import annotations

import base64
from pathlib import Path

import anyio
import httpx
import msgspec
import pytest

import wasmq
from wasmq.config import load_config
from wasmq.server import serve, stream

GUESTS = Path(__file__).parents[2] / "workers" / "guests"


@pytest.fixture
def serving(tmp_path):
    """Return a function that runs a test's coroutine against a daemon: it is given a client and the scheduler."""

    async def serving(test, **server):
        overrides = {"modules.directory": str(tmp_path), "scheduler.workers": 1, "server.port": 0}
        overrides |= {f"server.{key}": value for key, value in server.items()}
        where, stopping = [], anyio.Event()
        async with wasmq.Scheduler(config=load_config(environ={}, overrides=overrides)) as scheduler:
            bound = anyio.Event()

            def ready(*address):
                where.extend(address)
                bound.set()

            async with anyio.create_task_group() as tasks:

                async def run():
                    await serve(scheduler, ready=ready, stopping=stopping)

                tasks.start_soon(run)
                await bound.wait()
                url = "http://{}:{}".format(*where)
                async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                    await test(client, stopping)
                stopping.set()

    return serving


async def submit(client, guest, **body):
    digest = (await client.put("/v1/modules", content=(GUESTS / guest).read_bytes())).json()["digest"]
    response = await client.post("/v1/jobs", json={"module": digest, **body})
    return response.json()["id"]


async def events_of(response):
    """Yield (id, event, data) of each event."""
    fields = {}
    async for line in response.aiter_lines():
        if not line:
            if "data" in fields:
                yield fields["id"], fields["event"], msgspec.json.decode(fields["data"])
            fields = {}
        else:
            name, _, value = line.partition(": ")
            fields[name] = value


SPIN = {"export": "spin", "limits": {"fuel": 10**12, "timeout": 60}}


async def test_a_program_is_told_from_beginning_to_end(serving):
    """States, output in base64 at its place, and at last the job as GET gives it; then the stream ends."""

    async def test(client, stopping):
        job = await submit(client, "wasi/hello.wasm", stdin=base64.b64encode(b"abc").decode())
        async with client.stream("GET", f"/v1/jobs/{job}/events") as response:
            assert response.headers["content-type"] == "text/event-stream"
            told = [event async for event in events_of(response)]
        last_id, name, data = told[-1]
        assert (last_id, name) == ("end", "finished")
        assert data == (await client.get(f"/v1/jobs/{job}")).json()
        output = b"".join(
            base64.b64decode(data["data"]) for _, name, data in told if name == "output" and data["stream"] == "stdout"
        )
        assert output == base64.b64decode(data["outcome"]["stdout"])
        # Who comes back with the last id is told to stay away.
        again = await client.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "end"})
        assert (again.status_code, again.content) == (204, b"")

    await serving(test)


async def test_who_comes_back_misses_nothing(serving):
    """With the id of the last event the stream goes on: the state again, and of the output only the rest."""

    async def test(client, stopping):
        job = await submit(client, "wasi/hello.wasm")
        async with client.stream("GET", f"/v1/jobs/{job}/events") as response:
            place, data = await anext(
                (place, data) async for place, name, data in events_of(response) if name == "output"
            )
        async with client.stream("GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": place}) as response:
            rest = [event async for event in events_of(response)]
        whole = base64.b64decode(rest[-1][2]["outcome"][data["stream"]])
        came = [each for _, name, each in rest if name == "output" and each["stream"] == data["stream"]]
        assert base64.b64decode(data["data"]) + b"".join(base64.b64decode(each["data"]) for each in came) == whole
        async with client.stream("GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "nonsense"}) as response:
            assert [name async for _, name, _ in events_of(response)][-1] == "finished"

    await serving(test)


async def test_progress_is_told_while_a_job_runs(serving):
    """Fuel grows from event to event, and cancelling ends the stream with the outcome."""

    async def test(client, stopping):
        job = await submit(client, "loop.wat", **SPIN)
        fuel = []
        async with client.stream("GET", f"/v1/jobs/{job}/events") as response:
            async for _, name, data in events_of(response):
                if name == "progress":
                    fuel.append(data["fuel_used"])
                    if len(fuel) == 2:
                        await client.delete(f"/v1/jobs/{job}")
        assert 0 < fuel[0] < fuel[1]
        assert (name, data["outcome"]["status"]) == ("finished", "cancelled")

    await serving(test)


async def test_streams_are_bounded(serving):
    """Beyond so many streams of one client, the next is 429 with Retry-After, until one ends."""

    async def test(client, stopping):
        job = await submit(client, "loop.wat", **SPIN)
        path = f"/v1/jobs/{job}/events"
        async with client.stream("GET", path) as first:
            assert first.status_code == 200
            async with client.stream("GET", path) as second:
                assert second.status_code == 200
                third = await client.get(path)
                assert (third.status_code, third.json()["type"]) == (429, "urn:wasmq:too-many-streams")
                assert third.headers["retry-after"] == "1"
        with anyio.fail_after(10):
            while True:
                async with client.stream("GET", path) as response:
                    if response.status_code == 200:
                        break
        await client.delete(f"/v1/jobs/{job}")

    await serving(test, max_client_streams=2)


async def test_a_daemon_that_stops_ends_its_streams(serving):
    """A stream does not hold up the end: it is closed in good order, without an outcome."""

    async def test(client, stopping):
        job = await submit(client, "loop.wat", **SPIN)
        names = []
        async with client.stream("GET", f"/v1/jobs/{job}/events") as response:
            async for _, name, _ in events_of(response):
                names.append(name)
                stopping.set()
        assert "finished" not in names

    with anyio.fail_after(20):
        await serving(test)


async def test_silence_is_filled(serving, monkeypatch):
    """Where nothing happens a comment comes now and then, so that nobody takes the connection for dead."""
    monkeypatch.setattr(stream, "HEARTBEAT", 0.05)

    async def test(client, stopping):
        job = await submit(client, "loop.wat", **SPIN, delay=60)
        comments = 0
        async with client.stream("GET", f"/v1/jobs/{job}/events") as response:
            async for line in response.aiter_lines():
                comments += line == ":"
                if comments == 3:
                    break

    await serving(test)


async def test_a_reader_who_does_not_read_is_let_go(serving, monkeypatch):
    """Who leaves lying what was sent loses the connection, and its place is free again."""
    monkeypatch.setattr(stream, "PATIENCE", 0.2)
    monkeypatch.setattr(stream, "HEARTBEAT", 0.01)
    monkeypatch.setattr(stream, "_COMMENT", b":" + b"x" * 2**20 + b"\n\n")

    async def test(client, stopping):
        job = await submit(client, "loop.wat", **SPIN, delay=60)
        url = client.base_url
        async with await anyio.connect_tcp(url.host, url.port) as reader:
            await reader.send(f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert (await reader.receive(12)) == b"HTTP/1.1 200"
            with anyio.fail_after(20):
                while True:
                    async with client.stream("GET", f"/v1/jobs/{job}/events") as response:
                        if response.status_code == 200:
                            break

    await serving(test, max_client_streams=1)


@pytest.mark.parametrize("head", [b"X: " + b"x" * 200_000, b"".join(b"X%d: y\r\n" % n for n in range(30_000))])
async def test_headers_have_an_end(serving, head):
    """A request whose headers go on and on is cut off, whether it is one or many."""

    async def test(client, stopping):
        url = client.base_url
        async with await anyio.connect_tcp(url.host, url.port) as connection:
            answer = b""
            with anyio.fail_after(10):
                try:
                    await connection.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + head)
                    while True:
                        answer += await connection.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    pass
        assert answer[:12] in (b"HTTP/1.1 431", b"")
        assert (await client.get("/livez")).status_code == 200

    await serving(test)
