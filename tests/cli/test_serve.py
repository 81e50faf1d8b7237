"""`wasmq serve`: its life and its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request

import msgspec
import pytest

from wasmq.cli.app import main

from .conftest import GUESTS, ROOT

pytest.importorskip("litestar")


def log_of(process, event):
    """Read the daemon's log until `event`, and return that entry."""
    for line in process.stderr:
        entry = msgspec.json.decode(line)
        if entry["event"] == event:
            return entry
    raise AssertionError(f"the daemon ended without {event}")


def ask(method, url, body, media="application/json"):
    """Send a request and return the decoded answer."""
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": media})
    with urllib.request.urlopen(request) as answer:
        return msgspec.json.decode(answer.read())


@pytest.fixture
def store(tmp_path):
    """The words that give a daemon a file of the test's own."""
    return "--store", f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def daemon(spawn, store):
    """Start a daemon on a free port with the test's store; returns its process and its URL once it answers."""

    def start(*words):
        process = spawn("serve", "--json", "--port", 0, "--workers", 1, *store, *words, stderr=subprocess.PIPE)
        return process, log_of(process, "daemon.ready")["url"]

    return start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_it(daemon, number):
    """Ready, it answers; after SIGTERM or SIGINT it says that it stops, stops, and exits with 0."""
    process, url = daemon()
    with urllib.request.urlopen(f"{url}/livez") as answer:
        assert answer.status == 200
    process.send_signal(number)
    log_of(process, "daemon.stopping")
    log_of(process, "daemon.stopped")

    assert process.wait(60) == 0


def test_a_second_signal_does_not_wait_for_running_jobs(daemon, tmp_path):
    """With a job in the middle of an hour's work and an hour of grace, the second signal ends it at once."""
    file = tmp_path / "wasmq.toml"
    file.write_text("[scheduler]\ngrace = 3600\n")
    process, url = daemon("--config", file)
    module = ask("PUT", f"{url}/v1/modules", (ROOT / GUESTS / "loop.wat").read_bytes(), "application/wasm")
    call = {"module": module["digest"], "export": "spin", "limits": {"fuel": 10**12, "timeout": 3600}}
    job = ask("POST", f"{url}/v1/jobs", msgspec.json.encode(call))
    while ask("GET", f"{url}/v1/jobs/{job['id']}?wait=0.05", None)["state"] != "running":
        pass
    process.send_signal(signal.SIGTERM)
    log_of(process, "daemon.stopping")
    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == -signal.SIGTERM


def test_a_port_that_is_taken_is_one_line(daemon, wasmq):
    """A daemon that cannot listen says where and why, and exits as for any wrong setting."""
    _, url = daemon()
    port = url.rpartition(":")[2]
    done = wasmq("serve", "--port", port, "--workers", 1, "--store", "memory://")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("wasmq: server.port:")
    assert port in done.stderr


@pytest.mark.parametrize("path", ["nowhere.at.all:f", "os:nothing", "os"])
def test_a_host_function_that_is_not_there_is_one_line(wasmq, tmp_path, path):
    """Named by its key and its path, before a worker is started for nothing."""
    file = tmp_path / "wasmq.toml"
    file.write_text(f'[host.functions]\n"env.lookup" = "{path}"\n')
    done = wasmq("serve", "--port", 0, "--config", file)

    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith('wasmq: host.functions."env.lookup": ')
    assert path in line


def test_a_job_outlives_the_daemon(daemon):
    """What one daemon accepted the next one on the file runs, and it knows the modules that were sent to the first."""
    process, url = daemon()
    module = ask("PUT", f"{url}/v1/modules", (ROOT / GUESTS / "mul.wat").read_bytes(), "application/wasm")
    call = {"module": module["digest"], "export": "mul", "args": [2, 4], "delay": 0.5}
    job = ask("POST", f"{url}/v1/jobs", msgspec.json.encode(call))
    process.kill()
    process.wait(60)
    _, url = daemon()
    job = ask("GET", f"{url}/v1/jobs/{job['id']}?wait=30", None)
    assert (job["state"], job["outcome"]["value"]) == ("finished", 8)
    now = ask("POST", f"{url}/v1/jobs", msgspec.json.encode(call | {"delay": 0}))
    assert ask("GET", f"{url}/v1/jobs/{now['id']}?wait=30", None)["outcome"]["value"] == 8


def test_the_default_store_is_a_file_where_it_was_started(spawn, tmp_path):
    """A daemon that is told nothing keeps its jobs in wasmq.db, and runs them though its workers are elsewhere."""
    process = spawn("serve", "--json", "--port", 0, "--workers", 1, stderr=subprocess.PIPE, cwd=tmp_path)
    url = log_of(process, "daemon.ready")["url"]
    assert (tmp_path / "wasmq.db").exists()
    module = ask("PUT", f"{url}/v1/modules", (ROOT / GUESTS / "mul.wat").read_bytes(), "application/wasm")
    job = ask(
        "POST", f"{url}/v1/jobs", msgspec.json.encode({"module": module["digest"], "export": "mul", "args": [2, 4]})
    )
    assert ask("GET", f"{url}/v1/jobs/{job['id']}?wait=30", None)["outcome"]["value"] == 8


def test_a_second_daemon_on_a_file_is_one_line(daemon, wasmq, store, tmp_path):
    """It names the file and the process that has it, and exits as for any wrong setting."""
    process, _ = daemon()
    done = wasmq("serve", "--port", 0, "--workers", 1, *store)

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"wasmq: scheduler.store: {tmp_path}/jobs.db is in use by process {process.pid}; ")


def test_without_the_extra_the_way_to_it_is_named(monkeypatch, capsys):
    """Where litestar is not installed the command says what to install; exit status 69."""
    monkeypatch.setitem(sys.modules, "litestar", None)

    assert main(["serve"]) == 69
    assert capsys.readouterr().err == "wasmq: serving over HTTP needs litestar: pip install 'wasmq[serve]'\n"
