"""A daemon with two workers over loopback: requests a second with one job each, and jobs a second in batches.

The peer is a bare ASGI application under the same server, which reads the body and answers "202 Accepted" without
having looked at it: what HTTP alone costs here. Who sends and who answers share the machine, so the sender is lean: it
keeps some connections busy with bytes made beforehand.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import uvloop

import wasmq
from benchmarks.common import GUESTS, Row, each_round, main, quantile
from benchmarks.daemon import daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 16
REQUESTS = 300  # on each connection
BATCH, BATCHES = 100, 10
MAPPED = 10_000
ALONE = 500
WORKERS = 2
PEER = """
import asyncio, socket, uvicorn
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # TCP by name: answers without delay
listening.bind(("127.0.0.1", 0))
listening.listen(1024)
print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
server = uvicorn.Server(uvicorn.Config(app, http="httptools", loop="uvloop", lifespan="off", log_level="warning"))
asyncio.run(server.serve([listening]))
"""


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    with daemon(workers=WORKERS) as ours, _peer() as peer:
        return uvloop.run(_measure(rounds, ours.url, peer))


async def _measure(rounds: int, url: str, peer: str) -> tuple[list[Row], list[str]]:
    submitted: list[float] = []
    waited: list[float] = []
    bare: list[float] = []
    batched: list[float] = []
    batched_waited: list[float] = []
    bare_batched: list[float] = []
    mapped: list[float] = []
    alone: list[list[float]] = []
    async with wasmq.Client(url) as client:
        module = await client.load(GUESTS / "mul.wat")
        one = {"module": module.digest, "export": "mul", "args": [2, 4]}
        single, many = msgspec.json.encode(one), msgspec.json.encode([one] * BATCH)
        for _ in each_round("http", rounds):
            submitted.append(await _rate(url, "/v1/jobs", single, b"202", REQUESTS))
            bare.append(await _rate(peer, "/v1/jobs", single, b"202", REQUESTS))
            waited.append(await _rate(url, "/v1/jobs?wait=30", single, b"200", REQUESTS))
            batched.append(BATCH * await _rate(url, "/v1/jobs", many, b"202", BATCHES))
            bare_batched.append(BATCH * await _rate(peer, "/v1/jobs", many, b"202", BATCHES))
            batched_waited.append(BATCH * await _rate(url, "/v1/jobs?wait=30", many, b"200", BATCHES))
            start = time.perf_counter()
            outcomes = [each.value async for each in client.map(module, "mul", [(n % 1000, 3) for n in range(MAPPED)])]
            mapped.append(MAPPED / (time.perf_counter() - start))
            if outcomes != [n % 1000 * 3 for n in range(MAPPED)]:
                raise RuntimeError("map came to another result")
            took: list[float] = []
            await _rate(url, "/v1/jobs?wait=30", single, b"200", ALONE, connections=1, took=took)
            alone.append(took)
    rows = [
        Row(measured="submit, one job a request", kind="rate", ours=submitted, peer=bare, peer_is=_BARE, target=2_000),
        Row(measured="run and wait in one request", kind="rate", ours=waited, peer=bare, peer_is=_BARE),
        Row(
            measured=f"submit, {BATCH} jobs a request",
            kind="rate",
            ours=batched,
            peer=bare_batched,
            peer_is=_BARE,
            target=8_000,
        ),
        Row(measured=f"run and wait, {BATCH} jobs a request", kind="rate", ours=batched_waited),
        Row(measured="`Client.map`, every outcome brought back", kind="rate", ours=mapped),
        *[
            Row(
                measured=f"run and wait, one connection, {name}",
                kind="seconds",
                ours=[quantile(took, share) for took in alone],
            )
            for name, share in (("p50", 0.5), ("p99", 0.99))
        ],
    ]
    note = (
        f"{CONNECTIONS} connections, store in memory, metrics on, every finished job logged; the daemon, its {WORKERS} "
        "workers and the sender share two cores."
    )
    return rows, [note]


_BARE = "a bare ASGI application"


class _Sender(asyncio.Protocol):
    """Sends the same request again and again on one connection, each when the answer to the last has come."""

    def __init__(self, request: bytes, status: bytes, count: int, took: list[float] | None) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._status = b"HTTP/1.1 " + status
        self._left = count
        self._took = took
        self._sent = 0.0
        self._came = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def data_received(self, data: bytes) -> None:
        came = self._came
        came += data
        end = came.find(b"\r\n\r\n")
        if end < 0:
            return
        if not came.startswith(self._status):
            self.done.set_exception(RuntimeError(came.decode(errors="replace")[:500]))
            self._transport.close()
            return
        at = came.index(b"content-length:") + 15
        if len(came) < end + 4 + int(came[at : came.index(b"\r\n", at)]):
            return
        came.clear()
        if self._took is not None:
            self._took.append(time.perf_counter() - self._sent)
        self._left -= 1
        if self._left:
            self._send()
        else:
            self.done.set_result(None)
            self._transport.close()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)


async def _rate(
    url: str,
    path: str,
    body: bytes,
    status: bytes,
    count: int,
    *,
    connections: int = CONNECTIONS,
    took: list[float] | None = None,
) -> float:
    """Return how many requests a second were answered."""
    host, port = url.removeprefix("http://").split(":")
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    request = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    loop = asyncio.get_running_loop()
    senders = [_Sender(request, status, count, took) for _ in range(connections)]
    start = time.perf_counter()
    for sender in senders:
        await loop.create_connection(lambda sender=sender: sender, host, int(port))
    for sender in senders:
        await sender.done
    return connections * count / (time.perf_counter() - start)


@contextmanager
def _peer() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", PEER], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


if __name__ == "__main__":
    main("http", measure, rounds=3)
