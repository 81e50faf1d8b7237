"""What hostile clients need: connections on which anything can be said, beside a victim on the same daemon."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import httpx
from arena import LIMITS

from wasmq.config import Config, ModulesConfig, SchedulerConfig, ServerConfig, Tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from daemons import Daemon

    from wasmq.config import Role

SUM = """(module (func (export "sum") (param $n i32) (result i32) (local $s i32)
  (loop $again
    (local.set $s (i32.add (local.get $s) (local.get $n)))
    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
  (local.get $s)))"""
LOOP = """(module (func (export "spin") (loop $l (br $l))))"""
_ROLES: Final[dict[str, tuple[Role, ...]]] = {
    "victim": ("submit", "observe"),
    "attacker": ("submit", "observe"),
    "boss": ("administer",),
}
BEARER = {who: {"Authorization": f"Bearer token-of-{who}"} for who in _ROLES}
MAX_BODY = 2**20
_AT_LEAST = 10  # answers that the victim gets during one attack
_PATIENCE = 60  # seconds until a daemon that says nothing has failed


def configuration(modules: Path) -> Config:
    """Return the configuration of the daemon under attack: bounds that are reached soon."""
    return Config(
        modules=ModulesConfig(directory=str(modules)),
        scheduler=SchedulerConfig(workers=1),
        server=ServerConfig(
            port=0,
            max_body=MAX_BODY,
            max_batch=100,
            max_requests=200,
            max_client_requests=50,
            max_streams=20,
            max_client_streams=10,
            head_timeout=0.5,
            body_timeout=0.5,
        ),
        tenants={
            who: Tenant(tokens=(f"sha256:{hashlib.sha256(f'token-of-{who}'.encode()).hexdigest()}",), roles=roles)
            for who, roles in _ROLES.items()
        },
    )


class Answer(NamedTuple):
    """One answer off the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection on which a test says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, data: bytes) -> None:
        """Send bytes; a daemon that has hung up is no error."""
        with suppress(ConnectionError):
            if not self._writer.is_closing():
                self._writer.write(data)
            await self._writer.drain()

    def finish(self) -> None:
        """Say that nothing more will come; a daemon that has hung up is no error."""
        with suppress(OSError):
            self._writer.write_eof()

    async def answer(self) -> Answer | None:
        """Return the next answer, or None once the daemon has hung up. It is never a failure of the daemon's."""
        try:
            with anyio.fail_after(_PATIENCE):
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.rstrip().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines)
                body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Answer(harmless(int(first.split()[1])), headers, body)

    async def hung_up(self) -> list[int]:
        """Return the statuses of all answers until the daemon hangs up, which it does."""
        statuses = []
        while (answer := await self.answer()) is not None:
            statuses.append(answer.status)
        return statuses


@asynccontextmanager
async def connection(daemon: Daemon) -> AsyncIterator[Connection]:
    """Open a connection and close it in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


def client(daemon: Daemon, who: str = "attacker") -> httpx.AsyncClient:
    """Return a client that says nothing unusual, with a tenant's token. What it is answered is `harmless`."""

    async def look(answer: httpx.Response) -> None:
        harmless(answer.status_code)

    return httpx.AsyncClient(
        base_url=daemon.url, headers=BEARER[who], timeout=_PATIENCE, event_hooks={"response": [look]}
    )


def request(line: str, *headers: str, body: bytes = b"", who: str = "attacker") -> bytes:
    """Return a request as it travels: with a tenant's token, and without any header but those given."""
    lines = [f"{line} HTTP/1.1", "Host: localhost", f"Authorization: Bearer token-of-{who}", *headers]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


async def tell(daemon: Daemon, data: bytes) -> list[int]:
    """Send bytes on a connection of their own, and nothing after them; returns the statuses of the answers."""
    async with connection(daemon) as raw:
        await raw.say(data)
        raw.finish()
        return await raw.hung_up()


async def post(daemon: Daemon, body: bytes, *headers: str, path: str = "/v1/jobs") -> Answer:
    """Return the answer to a body."""
    async with connection(daemon) as raw:
        length = f"Content-Length: {len(body)}"
        await raw.say(request(f"POST {path}", "Content-Type: application/json", length, *headers, body=body))
        answer = await raw.answer()
        assert answer is not None
        return answer


def harmless(status: int) -> int:
    """Return a status that is none of a failure: of the 5xx only that there is too much."""
    assert status < 500 or status == 503, status
    return status


async def load(of: httpx.AsyncClient, source: str = SUM) -> str:
    """Return the digest of a module that is loaded for a client."""
    answer = await of.put("/v1/modules", content=source)
    assert answer.status_code == 200, answer.text
    digest: str = answer.json()["digest"]
    return digest


def spinning(digest: str, seconds: float = 60.0) -> dict[str, Any]:
    """Return a job that goes on for longer than any test."""
    return {"module": digest, "export": "spin", "limits": {"fuel": 10**12, "timeout": seconds}}


@asynccontextmanager
async def beside_a_victim(daemon: Daemon) -> AsyncIterator[None]:
    """Let another tenant ask over HTTP while the block runs: each answer is the same, to the unit of fuel."""
    enough = anyio.Event()
    async with client(daemon, "victim") as victim, anyio.create_task_group() as tasks:
        digest = await load(victim)

        async def ask() -> tuple[Any, ...]:
            call = {"module": digest, "export": "sum", "args": [1000], "limits": {"fuel": LIMITS.fuel}}
            answer = await victim.post("/v1/jobs?wait=60", json=call)
            assert answer.status_code == 200, answer.text
            outcome = json.loads(answer.text)["outcome"]
            return tuple(outcome[name] for name in ("status", "value", "fuel_used", "error"))

        expected = await ask()
        assert expected[0] == "succeeded"

        async def go_on() -> None:
            answers = 0
            while True:
                assert await ask() == expected
                answers += 1
                if answers == _AT_LEAST:
                    enough.set()

        tasks.start_soon(go_on)
        yield
        with anyio.fail_after(_PATIENCE):
            await enough.wait()
        tasks.cancel_scope.cancel()
