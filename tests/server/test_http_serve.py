"""The listening side, with a real server on a real port."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys

import anyio
import httpx
import pytest

from wasmq.errors import ConfigError
from wasmq.server import serve
from wasmq.server.listen import listen


async def test_it_serves_on_a_port_of_the_systems_choice_until_told_to_stop(make_scheduler, digest):
    """Port 0 is reported as the real port; stopping ends serve and frees the port."""
    scheduler = make_scheduler(port=0)
    stopping = anyio.Event()
    addresses = []
    async with anyio.create_task_group() as tasks:

        async def run():
            await serve(
                scheduler, ready=lambda host, port: addresses.append((host, port)) or up.set(), stopping=stopping
            )

        up = anyio.Event()
        tasks.start_soon(run)
        await up.wait()
        [(host, port)] = addresses
        assert host == "127.0.0.1"
        assert port > 0
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            response = await client.post("/v1/jobs", json={"module": digest, "export": "mul", "args": [2, 4]})
            assert response.status_code == 202
            assert "server" not in response.headers
            stopping.set()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind((host, port))


async def test_stopping_answers_those_who_wait(make_scheduler, digest):
    """A request that waits for a job is answered when serve stops, not dropped."""
    scheduler = make_scheduler(port=0)
    stopping, up, addresses, answers = anyio.Event(), anyio.Event(), [], []

    async def wait(client, job_id):
        answers.append(await client.get(f"/v1/jobs/{job_id}?wait=60"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            lambda: serve(scheduler, ready=lambda *address: addresses.append(address) or up.set(), stopping=stopping)
        )
        await up.wait()
        async with httpx.AsyncClient(base_url="http://{}:{}".format(*addresses[0])) as client:
            job = (await client.post("/v1/jobs", json={"module": digest, "export": "nothing"})).json()
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(wait, client, job["id"])
                await scheduler.waiting.wait()
                stopping.set()
    assert [(answer.status_code, answer.json()["state"]) for answer in answers] == [(200, "queued")]


@pytest.mark.parametrize("native", [False, True], ids=["scope", "task"])
async def test_cancelling_it_closes_everything(make_scheduler, native):
    """However the caller cancels, the port is free afterwards and the cancellation comes through."""
    scheduler = make_scheduler(port=0)
    up, addresses = asyncio.Event(), []

    async def run():
        await serve(scheduler, ready=lambda *address: addresses.append(address) or up.set())

    if native:
        task = asyncio.ensure_future(run())
        await up.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await up.wait()
            tasks.cancel_scope.cancel()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(addresses[0])


async def test_signals_stay_with_the_process(make_scheduler):
    """serve installs no signal handlers of its own."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stopping, seen = anyio.Event(), []

    async def look():
        while not seen:
            await anyio.lowlevel.checkpoint()
        async with httpx.AsyncClient() as client:
            await client.get("http://{}:{}/livez".format(*seen[0]))
        seen.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))
        stopping.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        await serve(make_scheduler(port=0), ready=lambda *address: seen.append(address), stopping=stopping)
    assert seen[1] == before


async def test_answers_are_sent_without_delay():
    """The listening sockets say that they are TCP, without which asyncio delays what it sends."""
    [listening] = await listen("127.0.0.1", 0, anywhere=False)
    with listening:
        assert listening.proto == socket.IPPROTO_TCP


async def test_a_port_that_is_taken_is_one_clear_line(make_scheduler):
    """The error names host and port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1 port {port} is taken"):
            await serve(make_scheduler(port=port))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
async def test_a_host_that_others_can_reach_is_refused(make_scheduler, host):
    """Without anything to tell callers apart, only this machine may call."""
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        await serve(make_scheduler(host=host, port=0))


async def test_a_host_that_is_no_address_is_refused(make_scheduler):
    """A name that leads nowhere is one clear line."""
    with pytest.raises(ConfigError, match=r"server\.host"):
        await serve(make_scheduler(host="no such host", port=0))


def test_importing_wasmq_imports_no_server():
    """A program that only embeds the scheduler pays nothing for HTTP."""
    code = "import sys, wasmq.scheduler; print(sorted({'litestar', 'uvicorn', 'httpx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_with_tokens_others_may_reach_the_daemon():
    """Once every request needs a token, the daemon listens on any address."""
    [listening, *_] = await listen("0.0.0.0", 0, anywhere=True)
    with listening:
        assert listening.getsockname()[0] == "0.0.0.0"
