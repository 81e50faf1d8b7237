"""`wasmq serve`: its life and its end."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing

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
    """A daemon that cannot listen says where and why, and exits as for what is not to be had now."""
    _, url = daemon()
    port = url.rpartition(":")[2]
    done = wasmq("serve", "--port", port, "--workers", 1, "--store", "memory://")

    assert done.returncode == 69
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


def test_a_backup_of_a_running_daemon_is_a_store(daemon, spawn, tmp_path):
    """Made by SQLite, with the modules copied afterwards: a daemon on it runs what was queued at that moment."""
    process, url = daemon()
    module = ask("PUT", f"{url}/v1/modules", (ROOT / GUESTS / "mul.wat").read_bytes(), "application/wasm")
    call = {"module": module["digest"], "export": "mul", "args": [2, 4], "delay": 1.0}
    job = ask("POST", f"{url}/v1/jobs", msgspec.json.encode(call))
    (tmp_path / "backup").mkdir()
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        connection.execute("VACUUM INTO ?", [f"{tmp_path}/backup/jobs.db"])
    shutil.copytree(tmp_path / "jobs.db-modules", tmp_path / "backup" / "jobs.db-modules")
    assert process.poll() is None
    copy = f"sqlite:///{tmp_path}/backup/jobs.db"
    second = spawn("serve", "--json", "--port", 0, "--workers", 1, "--store", copy, stderr=subprocess.PIPE)
    url = log_of(second, "daemon.ready")["url"]
    assert ask("GET", f"{url}/v1/jobs/{job['id']}?wait=30", None)["outcome"]["value"] == 8


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
    """It names the file and the process that has it, and exits as for what is not to be had now."""
    process, _ = daemon()
    done = wasmq("serve", "--port", 0, "--workers", 1, *store)

    assert (done.returncode, done.stdout) == (69, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"wasmq: scheduler.store: {tmp_path}/jobs.db is in use by process {process.pid}; ")


# Root may write whatever the mode of a file says, unless it gives that power up.
PLAIN = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all") if os.geteuid() == 0 else ()


@pytest.fixture
def refused(environment, store):
    """Start a daemon on the test's store, or another, that is to fail, without root's powers over files."""

    def call(*words):
        if PLAIN and shutil.which(PLAIN[0]) is None:
            pytest.skip("root can write everything here, and there is no setpriv to give that up")
        command = [*PLAIN, sys.executable, "-m", "wasmq", "serve", "--port", "0", "--workers", "1", *(words or store)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        return done.returncode, line

    return call


def test_a_file_that_cannot_be_written_is_one_line(daemon, refused, tmp_path):
    """Before a job is taken that could not be kept; the same for its directory."""
    process, _ = daemon()
    process.terminate()
    process.wait(60)
    for file in tmp_path.glob("jobs.db*"):
        if file.is_file() and not file.name.endswith("-lock"):
            file.chmod(0o444)
    assert refused() == (2, f"wasmq: scheduler.store: {tmp_path}/jobs.db: attempt to write a readonly database")
    (tmp_path / "jobs.db-lock").unlink()
    tmp_path.chmod(0o555)
    assert refused() == (2, f"wasmq: scheduler.store: {tmp_path}/jobs.db: its lock jobs.db-lock: Permission denied")


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"garbage" * 1000, "file is not a database"), (None, "there is no directory")],
)
def test_a_file_that_is_none_of_ours_is_one_line(refused, tmp_path, content, why):
    """Named with what is wrong with it; exit status 2, for it will be wrong the next time too."""
    path = tmp_path / ("file" if content else "nowhere/file")
    if content:
        path.write_bytes(content)
    status, line = refused("--store", f"sqlite:///{path}")
    assert (status, line.startswith(f"wasmq: scheduler.store: {path}: {why}")) == (2, True)


@pytest.mark.parametrize(
    ("old", "new", "status", "why"),
    [
        ("/postgres?", "/nowhere?", 2, "there is no such database; create it"),
        ("postgres@", "nobody@", 2, "the user is refused"),
        ("host=/", "host=/nowhere/", 69, "no PostgreSQL server answers there"),
    ],
)
def test_a_server_that_is_not_to_be_had_is_one_line(wasmq, postgres_cluster, old, new, status, why):
    """What is wrong is a wrong setting, status 2; a server that does not answer may do so later, status 69."""
    url = postgres_cluster.url.replace(old, new)
    done = wasmq("serve", "--port", 0, "--workers", 1, "--store", url)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, why in line) == (status, True), line


def test_without_the_extra_the_way_to_it_is_named(monkeypatch, capsys):
    """Where litestar is not installed the command says what to install; exit status 69."""
    monkeypatch.setitem(sys.modules, "litestar", None)

    assert main(["serve"]) == 69
    assert capsys.readouterr().err == "wasmq: serving over HTTP needs litestar: pip install 'wasmq[serve]'\n"
