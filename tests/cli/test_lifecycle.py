"""`wasmq serve` and whoever looks after it: SIGHUP, and what systemd is told."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
import uuid
from urllib.parse import urlsplit

import anyio
import msgspec
import pytest
from certificates import make_certificate
from cryptography import x509

from wasmq.server.notify import Notifier

pytest.importorskip("litestar")


def entries(process):
    """Yield the daemon's log."""
    for line in process.stderr:
        yield msgspec.json.decode(line)


def until(log, event):
    """Read a log until `event`, and return that entry and the events before."""
    seen = []
    for entry in log:
        if entry["event"] == event:
            return entry, seen
        seen.append(entry["event"])
    raise AssertionError(f"the daemon ended without {event}")


def weight(url):
    """Ask the daemon for the weight of the tenant acme."""
    with urllib.request.urlopen(f"{url}/v1/tenants/acme") as answer:
        return json.load(answer)["weight"]


def test_a_hang_up_reloads_what_can_change(spawn, tmp_path):
    """What cannot is named; a broken file changes nothing and is one line; the daemon goes on in each case."""
    file = tmp_path / "wasmq.toml"
    file.write_text("[tenants.acme]\nweight = 2.0\n")
    words = ("serve", "--json", "--port", 0, "--workers", 1, "--store", "memory://", "--config", file)
    process = spawn(*words, stderr=subprocess.PIPE)
    log = entries(process)
    ready, _ = until(log, "daemon.ready")
    assert weight(ready["url"]) == 2.0

    file.write_text("[tenants.acme]\nweight = 'heavy'\n")
    process.send_signal(signal.SIGHUP)
    refused, _ = until(log, "config.refused")
    assert (refused["level"], refused["error"].partition(":")[0]) == ("error", str(file))
    assert "tenants" in refused["error"]
    assert weight(ready["url"]) == 2.0

    file.write_text("[tenants.acme]\nweight = 3.0\n[server]\nmax_batch = 7\n[prices]\ncall = 1\n")
    process.send_signal(signal.SIGHUP)
    restart, seen = until(log, "config.needs_restart")
    assert "config.reloaded" not in seen
    assert restart["keys"] == ["prices.call", "server.max_batch"]
    reloaded, _ = until(log, "config.reloaded")
    assert reloaded["changed"] == ["tenants.acme.weight"]
    assert weight(ready["url"]) == 3.0

    file.write_text("[logs]\nlevel = 'error'\n")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def serial(address):
    """Return the serial number of the certificate that a new connection is shown."""
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(address).encode()).serial_number


def test_a_hang_up_renews_the_certificate(spawn, tmp_path):
    """New connections are shown the new one; files that are no good are one line, and the last good ones stay."""
    make_certificate(tmp_path, serial=1)
    file = tmp_path / "wasmq.toml"
    file.write_text(f"[server]\ntls_cert = '{tmp_path}/cert.pem'\ntls_key = '{tmp_path}/key.pem'\n")
    words = ("serve", "--json", "--port", 0, "--workers", 1, "--store", "memory://", "--config", file)
    process = spawn(*words, stderr=subprocess.PIPE)
    log = entries(process)
    ready, _ = until(log, "daemon.ready")
    address = urlsplit(ready["url"]).hostname, urlsplit(ready["url"]).port
    assert serial(address) == 1

    make_certificate(tmp_path, serial=2)
    process.send_signal(signal.SIGHUP)
    until(log, "certificate.reloaded")
    assert serial(address) == 2

    (tmp_path / "key.pem").write_text("nothing")
    process.send_signal(signal.SIGHUP)
    refused, _ = until(log, "certificate.refused")
    assert f"{tmp_path}/key.pem" in refused["error"]
    assert serial(address) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_a_hang_up_that_would_leave_nobody_a_token_is_refused(spawn, tmp_path):
    """Tokens stay wanted until a restart, so a file that has none left is one line, and the old tokens still count."""
    file = tmp_path / "wasmq.toml"
    token = hashlib.sha256(b"secret").hexdigest()
    file.write_text(f"[server]\ntokens_required = true\n[tenants.acme]\ntokens = ['sha256:{token}']\n")
    words = ("serve", "--json", "--port", 0, "--workers", 1, "--store", "memory://", "--config", file)
    process = spawn(*words, stderr=subprocess.PIPE)
    log = entries(process)
    ready, _ = until(log, "daemon.ready")

    for text in ("[server]\ntokens_required = true\n", "[tenants.acme]\nweight = 2.0\n"):
        file.write_text(text)
        process.send_signal(signal.SIGHUP)
        refused, _ = until(log, "config.refused")
        assert "server.tokens_required is set, but no tenant has a token" in refused["error"]
    asked = urllib.request.Request(f"{ready['url']}/v1/tenants/acme", headers={"Authorization": "Bearer secret"})
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


class Systemd:
    """A socket that listens as systemd does, and what was said to it."""

    def __init__(self, name):
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)

    def hear(self):
        """Wait for the next message, and return it as fields."""
        assert select.select([self._socket], [], [], 60)[0], "nothing was said"
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def close(self):
        """Stop listening."""
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    """A service manager that listens in the file system, and one in the kernel's abstract namespace."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@wasmq-test-{uuid.uuid4()}"
    manager = Systemd(name)
    yield manager
    manager.close()


def test_systemd_hears_of_a_daemon_s_life(spawn, systemd):
    """Ready, alive, reloading with the time and ready again, stopping: in this order."""
    environment = {"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "200000"}
    words = ("serve", "--json", "--port", 0, "--workers", 1, "--store", "memory://")
    process = spawn(*words, stderr=subprocess.PIPE, env=environment)

    def hear():
        """Return the next message that is no sign of life."""
        while (said := systemd.hear()) == {"WATCHDOG": "1"}:
            pass
        return said

    assert systemd.hear() == {"READY": "1"}
    assert [systemd.hear() for _ in range(3)] == [{"WATCHDOG": "1"}] * 3
    process.send_signal(signal.SIGHUP)
    reloading = hear()
    assert reloading.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert 0 < int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert hear() == {"READY": "1"}
    process.send_signal(signal.SIGTERM)
    assert hear() == {"STOPPING": "1"}
    process.stderr.read()
    assert process.wait(60) == 0


async def test_no_sign_of_life_without_life(systemd):
    """A scheduler that claims no jobs is not said to be alive; once it does, it is again."""
    alive = [True, False, False, True]
    notifier = Notifier({"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "2000"})
    asked = []

    def live():
        if len(asked) == len(alive):
            tasks.cancel_scope.cancel()
            return False
        asked.append(alive[len(asked)])
        return asked[-1]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(notifier.watch, live)
    notifier.stopping()
    assert [systemd.hear() for _ in range(3)] == [{"WATCHDOG": "1"}, {"WATCHDOG": "1"}, {"STOPPING": "1"}]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "1000000"}, 0.0),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1000000"}, 1.0),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_the_watchdog_is_for_whom_it_is_meant(environ, seconds):
    """Only with a socket, a number, and for this process."""
    assert Notifier(environ).watchdog == seconds


def test_a_service_manager_that_is_gone_is_no_reason_to_fall(tmp_path, caplog):
    """It is logged, and life goes on; without one nothing is said at all."""
    Notifier({}).ready()
    assert caplog.messages == []
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    Notifier({"NOTIFY_SOCKET": "@" + "x" * 300}).stopping()
    assert [message.split()[0] for message in caplog.messages] == ["systemd.unheard"] * 2
    assert "state=READY" in caplog.messages[0]
    assert "state=STOPPING" in caplog.messages[1]
