"""What a client may send to the daemon: heads, bodies, cursors, ids, in any pieces, to the real application.

Requests go into the protocol that reads connections, before an application over a real scheduler with a worker. Each is
answered with a status below 500, or 503, and a problem is one that can be read; the daemon never fails on what it gets.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import uvicorn
from uvicorn.server import ServerState

import wasmq
from fuzz.drawing import Draw
from wasmq.config import Config, load_config
from wasmq.server.app import build_app
from wasmq.server.problems import Problem
from wasmq.server.refusals import Refusals
from wasmq.server.wire import within

logging.getLogger("wasmq").setLevel(logging.ERROR)  # what a failure was is said there

_GUESTS: Final = Path(__file__).parents[2] / "workers" / "guests"
_TOKENS: Final = ("1" * 40, "2" * 40)
_PATIENCE: Final = 10.0
"""Seconds after which a request that is not answered counts as forgotten."""
_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "CONNECT", "X")
_HEADERS: Final = (
    *("Content-Type: application/json", "Content-Type: application/wasm", "Accept: application/wasm", "Host: evil"),
    *("Transfer-Encoding: chunked", "Content-Length: 5", "Content-Length: -1", "Expect: 100-continue", "Host: ::"),
    *("Connection: close", "Upgrade: websocket", "Origin: http://x", "Last-Event-ID: 1.2.3", "Last-Event-ID: end"),
    *(
        "Idempotency-Key: k",
        "Idempotency-Key: \xff",
        "Accept-Encoding: gzip",
        "Content-Encoding: gzip",
        "X: " + "y" * 999,
    ),
    *("Authorization: Bearer", "Authorization: Basic x", "Authorization: Bearer \xff", "Cookie: a=b", "Origin: null"),
)
_FIELDS: Final = (
    *("module", "export", "args", "link", "argv", "env", "stdin", "files", "collect", "dirs", "name", "deterministic"),
    *("limits", "tenant", "priority", "key", "delay", "deadline", "grant", "on_exhausted", "reuse", "x"),
)
_TENANT: Final = (
    "weight",
    "class",
    "max_queued",
    "max_running",
    "memory",
    "fuel_budget",
    "fuel_period",
    "fuel_burst",
    "fuel_rate",
    "on_empty",
    "grant",
    "reuse",
    "tokens",
    "roles",
    "x",
)
_PATHS: Final = ("/livez", "/readyz", "/metrics", "/schema", "/", "*", "//", "/v1/../x", "/%00", "http://x/v1/jobs")
_QUERY: Final = ("wait", "ids", "tenant", "status", "cursor", "limit", "export", "x")
_STATUS: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


class _Transport(asyncio.Transport):
    """A connection from a client that takes all that it is sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2), "socket": None})
        self._loop = loop
        self._protocol = protocol
        self._gone = False
        self.paused = False
        self.sent: list[bytes] = []

    def is_closing(self) -> bool:
        return self._gone

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        if not self._gone:
            self._gone = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take note of nothing: all is taken at once."""

    def get_write_buffer_size(self) -> int:
        return 0


class _Daemon:
    """The application, its scheduler, and what there is to ask for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.ids: list[str] = []
        self.digests: list[str] = []

    async def start(self) -> None:
        """Start, and load and run what requests can then speak of."""
        self._scheduler = await wasmq.Scheduler(config=_config()).__aenter__()
        self._terms = dict(self._scheduler.tenants())
        for source in ("mul.wat", "loop.wat", "components/values.wat"):
            module = await self._scheduler.load(_GUESTS / source)
            self.digests.append(module.digest)
        job = await self._scheduler.submit(self.digests[0], "mul", 2, 4)
        await job
        self.ids.append(job.id)
        self._app = build_app(self._scheduler)
        for digest in self.digests:
            await self._scheduler.share(digest, "acme")
        self._config = uvicorn.Config(
            self._app, log_config=None, log_level="critical", access_log=False, lifespan="off", ws="none",
            proxy_headers=False, http=within(10.0, 10.0, Refusals()),
        )  # fmt: skip
        self._config.load()

    async def serve(self, pieces: list[bytes]) -> list[bytes]:
        """Return what is written to a connection on which these pieces come."""
        state = ServerState()
        protocol = self._config.http_protocol_class(
            config=self._config, server_state=state, app_state={}, _loop=self._loop
        )  # type: ignore[operator]
        transport = _Transport(self._loop, protocol)
        protocol.connection_made(transport)
        for piece in pieces:
            if transport.is_closing():
                break
            protocol.data_received(piece)
            await asyncio.sleep(0)
        # What is still open then is a stream of events, or wants a body that does not come.
        for _ in range(20):
            if not state.tasks:
                break
            await asyncio.wait(state.tasks, timeout=0.01)
        transport.close()
        if state.tasks:
            _, forgotten = await asyncio.wait(state.tasks, timeout=_PATIENCE)
            assert not forgotten, "a request goes on although its client has gone"
        await asyncio.sleep(0)
        return transport.sent

    async def tidy(self) -> None:
        """Leave nothing that the next input would meet: no jobs but finished ones, and the tenants as they were."""
        for record in await self._scheduler.jobs(limit=1_000):
            if record.state != "finished":
                await self._scheduler.cancel(record.id)
        for name, terms in self._terms.items():
            if self._scheduler.tenants().get(name) != terms:
                await self._scheduler.set_tenant(name, terms)


def _config() -> Config:
    first, second = [f"sha256:{hashlib.sha256(token.encode()).hexdigest()}" for token in _TOKENS]
    return load_config(
        environ={},
        overrides={
            "modules.directory": tempfile.mkdtemp(prefix="wasmq-fuzz-"),
            "modules.max_loaded": 8,
            "scheduler.workers": 1,
            "scheduler.max_queued": 50,
            "store.history": 50,
            "server.max_wait": 0.02,
            "server.max_body": 4_096,
            "server.max_batch": 4,
            "server.requests_per_second": 1e6,
            "server.requests_burst": 1e6,
            "server.tokens_required": False,
            "limits.timeout": 0.5,
            "limits.fuel": 1_000_000,
            "tenants.acme": {"tokens": [first]},
            "tenants.root": {"tokens": [second], "roles": ["submit", "observe", "administer"]},
        },
    )


def _known(draw: Draw, known: list[str]) -> str:
    return draw.choice(known) if draw.below(4) else quote(draw.text(), safe="", errors="surrogatepass")


def _target(draw: Draw, daemon: _Daemon) -> tuple[str, str]:
    """Return a method and a path, nearly always such as go together."""
    job = f"/v1/jobs/{_known(draw, daemon.ids)}"
    module = f"/v1/modules/{_known(draw, daemon.digests)}"
    tenant = f"/v1/tenants/{_known(draw, ['acme', 'root', 'default'])}"
    method, path = draw.choice(
        (
            *(("POST", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("GET", job), ("DELETE", job)),
            *(("GET", f"{job}/events"), ("GET", f"{job}/call"), ("POST", f"{job}/replay"), ("POST", f"{job}/refuel")),
            *(("POST", f"{job}/requeue"), ("PUT", "/v1/modules"), ("GET", "/v1/modules"), ("GET", module)),
            *(("GET", f"{module}/estimate"), ("GET", "/v1/tenants"), ("GET", tenant), ("PUT", tenant)),
            *(("POST", f"{tenant}/credit"), ("GET", draw.choice(_PATHS))),
        )
    )
    if draw.below(12) == 11:
        method = draw.choice(_METHODS)
    pairs = [f"{draw.choice(_QUERY)}={_query(draw, daemon)}" for _ in range(max(0, draw.below(8) - 4))]
    return method, f"{path}?{'&'.join(pairs)}" if pairs else path


def _query(draw: Draw, daemon: _Daemon) -> str:
    match draw.below(5):
        case 0:
            return draw.choice(daemon.ids)
        case 1:
            return str(draw.integer())
        case 2:
            return draw.choice(("0.01", "nan", "-1", "1e9", "queued", "finished", "trapped", "acme", ",,", "%ff", ""))
        case 3:
            return quote(draw.text(), safe="", errors="surrogatepass")
    return quote(draw.octets(20))


def _job(draw: Draw, daemon: _Daemon) -> dict[str, Any]:
    """Return a job that could be, with some of it changed."""
    body: dict[str, Any] = {"module": draw.choice(daemon.digests), "export": draw.choice(("mul", "loop", "add", None))}
    body["args"] = [draw.json(3) for _ in range(draw.below(3))]
    for _ in range(draw.below(4)):
        name = draw.choice(_FIELDS)
        body[name] = _field(draw, name, daemon)
    return body


def _field(draw: Draw, name: str, daemon: _Daemon) -> Any:
    if draw.flag():
        return draw.json()
    match name:
        case "limits":
            names = ("fuel", "memory", "timeout", "output", "files", "host_calls", "suspend", "x")
            values = (draw.integer(), "1KiB", 0.1, "9" * 25, draw.text(), draw.json(2))
            return {draw.choice(names): draw.choice(values) for _ in range(draw.below(3))}
        case "link":
            return {draw.choice(("env", "", "a")): draw.choice(daemon.digests)}
        case "files" | "dirs" | "env":
            return {draw.choice(("a", "../a", "/", "a/b/", "")): draw.choice(("QQ==", "QQ", "ro", draw.text()))}
        case "collect" | "argv" | "grant":
            return [draw.text() for _ in range(draw.below(3))]
        case "on_exhausted":
            return draw.choice(("stop", "suspend"))
        case "reuse":
            return draw.choice(("flight", "result"))
        case "delay" | "deadline":
            return draw.real()
    return draw.text()


def _body(draw: Draw, daemon: _Daemon) -> bytes:
    body: Any
    match draw.below(8):
        case 0:
            return draw.octets(200)
        case 1 | 2 | 3:
            body = _job(draw, daemon)
        case 4:
            body = [_job(draw, daemon) for _ in range(draw.below(6))]
        case 5:
            body = {"fuel": draw.choice((draw.integer(), "7", 10**19, draw.json(2)))}
        case 6:
            body = {
                draw.choice(_TENANT): draw.choice((draw.integer(), draw.real(), draw.json(2)))
                for _ in range(draw.below(3))
            }
        case _:
            return draw.choice(
                (b"[" * 3_000, b'{"a":' * 500, b"\xff\xfe", b'"\\ud800"', b"1e999", b"(module)", b"\0asm\1\0\0\0")
            )
    try:
        encoded = bytearray(msgspec.json.encode(body))
    except (UnicodeEncodeError, ValueError):
        encoded = bytearray(repr(body).encode("utf-8", "surrogatepass"))
    if draw.below(8) == 7:
        encoded[draw.below(len(encoded))] = draw.byte()
    return bytes(encoded)


def _request(draw: Draw, daemon: _Daemon) -> bytes:
    """Return the bytes of a request that is right, or nearly."""
    if draw.below(24) == 23:
        return draw.octets(255)
    method, path = _target(draw, daemon)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    token = draw.below(4)
    if token < 2:
        lines.append(f"Authorization: Bearer {_TOKENS[token]}")
    body = b"" if method == "GET" and draw.below(8) else _body(draw, daemon)
    lines += [draw.choice(_HEADERS) for _ in range(max(0, draw.below(8) - 5))]
    if body or draw.flag():
        lines.append(f"Content-Length: {len(body) if draw.below(12) else draw.integer()}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


def _check(sent: list[bytes]) -> None:
    """See that answers are such as a client can expect."""
    for place, piece in enumerate(sent):
        match = _STATUS.match(piece)
        if match is None:
            continue
        status = int(match[1])
        rest = piece.partition(b"\r\n\r\n")[2] + b"".join(sent[place + 1 : place + 2])
        assert status < 500 or status == 503, piece + rest
        if b"application/problem+json" in piece and rest and not _STATUS.match(rest):
            problem = msgspec.json.decode(rest, type=Problem)
            assert problem.status == status
            assert problem.detail.isprintable(), problem


_LOOP: Final = asyncio.new_event_loop()
_daemon: _Daemon | None = None


def fuzz(data: bytes) -> None:
    """Ask something of a daemon. Raises when it fails, or answers with a failure."""
    global _daemon
    if _daemon is None:
        asyncio.set_event_loop(_LOOP)
        _daemon = _Daemon(_LOOP)
        _LOOP.run_until_complete(_daemon.start())
    draw = Draw(data)
    stream = b"".join([_request(draw, _daemon) for _ in range(1 + draw.below(2))])
    pieces = []
    while stream:
        size = len(stream) if draw.below(4) else 1 + draw.below(300)
        pieces.append(stream[:size])
        stream = stream[size:]
    _check(_LOOP.run_until_complete(_daemon.serve(pieces)))
    _LOOP.run_until_complete(_daemon.tidy())
