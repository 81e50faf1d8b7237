"""How many connections there may be, and with which certificate they begin."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import resource
import ssl

import anyio
import anyio.lowlevel
import pytest
from certificates import make_certificate
from cryptography import x509
from serving import served

import wasmq
from wasmq.config import ServerConfig
from wasmq.server import serve
from wasmq.server.accept import most_connections
from wasmq.server.tls import Certificate

ASKS = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
MOST = 3


async def answer(reader):
    """Return the status, the headers and the body of the next answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


@pytest.fixture
def files(tmp_path):
    """Return what `[server]` says of a certificate and its key."""
    make_certificate(tmp_path, serial=1)
    return {"tls_cert": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}


@pytest.fixture
def trusting(files):
    """Return what trusts any certificate: a test looks at them itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_one_connection_too_many_is_turned_away(make_scheduler, caplog):
    """It is told 503 in words, the log says it once, those that are open are answered, and one that ends makes room."""
    async with served(make_scheduler(port=0, max_connections=MOST, head_timeout=30.0)) as connect:
        readers = [await connect(ASKS) for _ in range(MOST)]
        assert [(await answer(reader))[0] for reader in readers] == [200] * MOST
        for _ in range(5):
            refused = await connect()
            status, headers, body = await answer(refused)
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert "[server] max_connections" in json.loads(body)["detail"]
            assert await refused.read() == b""
        assert [record.getMessage() for record in caplog.records] == ['http.refused reason="too many connections"']
        connect.writers[1].write(ASKS)
        assert (await answer(readers[1]))[0] == 200
        connect.writers[0].close()
        while (await answer(await connect(ASKS)))[0] == 503:
            await anyio.lowlevel.checkpoint()
    assert re.match(r"http\.refused suppressed=\d+ ", caplog.records[-1].getMessage())


async def test_who_has_not_agreed_on_tls_counts_too(make_scheduler, files, trusting):
    """Connections that never say what TLS begins with take their places until their time is over, and no longer."""
    async with served(make_scheduler(port=0, max_connections=MOST, head_timeout=1.0, **files)) as connect:
        silent = [await connect() for _ in range(MOST)]
        assert await (await connect()).read() == b""
        for reader in silent:
            assert await reader.read() == b""
        while True:
            try:
                reader = await connect(ASKS, ssl=trusting)
                break
            except OSError:
                await anyio.lowlevel.checkpoint()
        assert (await answer(reader))[0] == 200


def test_the_cap_leaves_descriptors_to_others(monkeypatch):
    """However many connections are configured, the store and the workers get files to open."""
    for soft, configured, most in ((1024, 8192, 768), (20_000, 8192, 8192), (100, 10, 1), (1024, 10, 10)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert most_connections(ServerConfig(max_connections=configured)) == most


async def test_a_system_without_room_is_asked_again(make_scheduler, monkeypatch, caplog):
    """A connection for which there is no descriptor waits until there is one; the log says it in one line."""
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [OSError(errno.EMFILE, "Too many open files")] * 3

    async def scarce(bound):
        if failures:
            raise failures.pop()
        return await accept(bound)

    monkeypatch.setattr(loop, "sock_accept", scarce)
    async with served(make_scheduler(port=0)) as connect:
        assert (await answer(await connect(ASKS)))[0] == 200
    assert not failures
    assert caplog.records[0].getMessage() == 'http.refused reason="the system has no room for a connection"'


async def shown(connect, trusting):
    """Return the serial number of the certificate that a new connection is shown."""
    assert (await answer(await connect(ASKS, ssl=trusting)))[0] == 200
    return x509.load_der_x509_certificate(
        connect.writers[-1].get_extra_info("ssl_object").getpeercert(binary_form=True)
    ).serial_number


async def test_a_renewed_certificate_is_shown_to_who_comes_next(make_scheduler, files, trusting, tmp_path):
    """New connections get it, those that are open go on, and files that are no good leave everything as it was."""
    certificate = Certificate(ServerConfig(**files))
    async with served(make_scheduler(port=0, **files), certificate=certificate) as connect:
        reader = await connect(ASKS, ssl=trusting)
        assert (await answer(reader))[0] == 200
        earlier = connect.writers[-1]
        make_certificate(tmp_path, serial=2)
        assert await shown(connect, trusting) == 1
        assert certificate.reload()
        assert await shown(connect, trusting) == 2
        for break_it in (
            lambda: (tmp_path / "cert.pem").write_text("nothing"),
            lambda: make_certificate(tmp_path, serial=3) or (tmp_path / "key.pem").write_text("nothing"),
            lambda: (tmp_path / "key.pem").unlink(),
        ):
            break_it()
            with pytest.raises(wasmq.ConfigError, match=r"^server\.tls_(cert|key): "):
                certificate.reload()
            assert await shown(connect, trusting) == 2
        earlier.write(ASKS)
        assert (await answer(reader))[0] == 200


def test_without_tls_there_is_nothing_to_reload():
    """It says so, and nothing is read."""
    assert not Certificate(ServerConfig()).reload()


async def test_what_speaks_no_tls_is_let_go(make_scheduler, files, trusting, caplog):
    """It is one line for its address, and the next one is answered."""
    async with served(make_scheduler(port=0, **files)) as connect:
        for _ in range(3):
            reader = await connect(ASKS)
            with pytest.raises(asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
        assert (await answer(await connect(ASKS, ssl=trusting)))[0] == 200
        assert [record.getMessage() for record in caplog.records] == [
            'http.refused client=127.0.0.1 reason="no TLS came of it"'
        ]
    assert "suppressed=2" in caplog.records[-1].getMessage()


async def test_it_ends_while_connections_come(make_scheduler, files):
    """Stopping and cancelling end it, whoever is about to connect: nothing is left behind."""
    for scheduler in (make_scheduler(port=0), make_scheduler(port=0, **files)):
        async with served(scheduler) as connect:
            await connect()
        up = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda scheduler=scheduler, up=up: serve(scheduler, ready=lambda *_: up.set()))
            await up.wait()
            tasks.cancel_scope.cancel()
