"""Other ways to the daemon: a socket that is a file, and TLS; and what is said of files that are no good."""

from __future__ import annotations

import re
import socket
import stat

import msgspec
import pytest
from certificates import make_certificate
from daemons import daemon

import wasmq
from wasmq.config import ServerConfig
from wasmq.server.listen import listen_on_file, url_of
from wasmq.server.tls import Certificate


def with_server(config, **server):
    """Return the configuration with these keys of `[server]`."""
    return msgspec.structs.replace(config, server=ServerConfig(port=0, **server))


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A certificate for 127.0.0.1 that trusts itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    make_certificate(directory)
    return directory


async def test_a_job_over_a_file(config, guests, tmp_path):
    """A daemon listens on a file that only its owner and their group may use, and takes it away at its end."""
    path = tmp_path / "wasmq.sock"
    with daemon(with_server(config, socket=str(path))):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with wasmq.Client(f"unix://{path}") as client:
            module = await client.load(guests / "mul.wat")
            assert (await client.run(module, "mul", 6, 7)).value == 42
    assert not path.exists()
    async with wasmq.Client(f"unix://{path}", retry_for=0) as client:
        with pytest.raises(wasmq.Unreachable, match=re.escape(f"unix://{path}")):
            await client.modules()


def test_a_file_that_is_taken(tmp_path):
    """What a dead daemon left is replaced; a living one is not, nor anything that is no socket."""
    path = str(tmp_path / "s")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    with (
        listen_on_file(path),
        pytest.raises(wasmq.errors.ResourceUnavailable, match="another process listens"),
    ):
        listen_on_file(path)
    (tmp_path / "s").unlink()
    (tmp_path / "s").write_text("precious")
    with pytest.raises(wasmq.ConfigError, match="is no socket"):
        listen_on_file(path)
    assert (tmp_path / "s").read_text() == "precious"
    for wrong in (str(tmp_path / "none" / "s"), str(tmp_path / ("x" * 200))):
        with pytest.raises(wasmq.ConfigError, match=r"server\.socket: cannot listen on"):
            listen_on_file(wrong)


async def test_a_job_over_tls(config, guests, tls):
    """With a certificate the daemon speaks TLS; a client that does not trust it sends nothing."""
    server = {"tls_cert": str(tls / "cert.pem"), "tls_key": str(tls / "key.pem")}
    with daemon(with_server(config, **server)) as running:
        url = f"https://127.0.0.1:{running.port}"
        async with wasmq.Client(url, verify=tls / "cert.pem") as client:
            module = await client.load(guests / "mul.wat")
            assert (await client.run(module, "mul", 6, 7)).value == 42
        async with wasmq.Client(url, retry_for=0) as client:
            with pytest.raises(wasmq.Unreachable, match="certificate"):
                await client.modules()


@pytest.mark.parametrize(
    ("cert", "key", "line"),
    [
        ("cert.pem", None, "go together"),
        (None, "key.pem", "go together"),
        ("none.pem", "key.pem", r"server\.tls_cert: .*none\.pem: No such file"),
        ("cert.pem", "none.pem", r"server\.tls_key: .*none\.pem: No such file"),
        ("key.pem", "key.pem", "not a certificate and its key"),
        ("cert.pem", "locked.pem", "unencrypted"),
    ],
)
def test_tls_files_that_are_no_good(tls, cert, key, line):
    """What is wrong with the files is said in one line that names them."""
    given = {name: None if file is None else str(tls / file) for name, file in (("tls_cert", cert), ("tls_key", key))}
    with pytest.raises(wasmq.ConfigError, match=line) as refused:
        Certificate(ServerConfig(**given))
    assert "\n" not in str(refused.value)


def test_tls_and_a_file_exclude_each_other(tls):
    """A socket that is a file has no TLS, and who asks for both is told."""
    files = {"tls_cert": str(tls / "cert.pem"), "tls_key": str(tls / "key.pem")}
    with pytest.raises(wasmq.ConfigError, match="needs no TLS"):
        Certificate(ServerConfig(socket="s", **files))
    Certificate(ServerConfig(**files))


async def test_what_a_client_cannot_trust(tmp_path):
    """A file of certificates that is missing or has none is named."""
    (tmp_path / "empty").write_text("")
    for file, line in (("none", "No such file"), ("empty", "no certificate")):
        with pytest.raises(wasmq.ConfigError, match=line):
            async with wasmq.Client("https://localhost", verify=tmp_path / file):
                pass


def test_where_it_is():
    """The URL that is logged is the one that clients take."""
    assert url_of(ServerConfig(), "::1", 80) == "http://[::1]:80"
    assert url_of(ServerConfig(tls_cert="c"), "127.0.0.1", 80) == "https://127.0.0.1:80"
    assert url_of(ServerConfig(socket="/run/s"), "127.0.0.1", 0) == "unix:///run/s"
