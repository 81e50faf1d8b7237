"""wasmq beside the queues that people use: the same durable job, from submit to the recorded result seen by its caller.

    python -m benchmarks.queues

Each peer is installed into a virtual environment of its own under the user's cache, in the version that stands here.
Its worker is one process and its callers another; ours has its callers in the scheduler's process, and one worker.
Redis and PostgreSQL are private servers of this machine's binaries, and sync before they acknowledge. What is not to be
had is left out, and said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.common import ROOT, Row, each_round, main, quantile, say

sys.path.append(str(ROOT / "tests"))
from postgres import Cluster, execute, server_binaries

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = Path(__file__).parent / "queue_peers"
PATIENCE = 60.0  # seconds that a server or a worker may take to be there
LONGEST = 120.0  # seconds of one measurement


class Peer(msgspec.Struct, frozen=True):
    """A queue: what it is installed from, the program that asks it, its store and how it waits for results."""

    name: str
    requirements: tuple[str, ...]
    program: str
    store: str
    waits: str


PEERS = (
    Peer("taskiq 0.13.0", ("taskiq==0.13.0", "taskiq-redis==1.2.4", "redis==8.1.0"), "taskiq", "redis", "polls"),
    Peer("arq 0.28.0", ("arq==0.28.0", "redis==5.3.1"), "arq", "redis", "polls"),
    Peer("SAQ 0.26.4", ("saq[postgres,redis]==0.26.4", "redis==7.4.1", "psycopg==3.3.9"), "saq", "redis", "polls"),
    Peer(
        "SAQ 0.26.4",
        ("saq[postgres,redis]==0.26.4", "redis==7.4.1", "psycopg==3.3.9"),
        "saq",
        "postgres",
        "polls",
    ),
    Peer("pgqueuer 1.6.0", ("pgqueuer[asyncpg]==1.6.0", "asyncpg==0.32.0"), "pgqueuer", "postgres", "is notified"),
)
OURS = {"redis": "sqlite", "postgres": "postgres"}
"""Which of our stores a peer's is held against: the one that takes no server, or the same server."""
SHOWN = {"redis": "Redis", "postgres": "PostgreSQL", "sqlite": "SQLite"}


class Figures(msgspec.Struct, frozen=True):
    """What one measurement found: jobs a second, and the seconds of one caller's jobs."""

    rate: float
    alone: list[float]


def environment(peer: Peer) -> Path:
    """Return the Python of a virtual environment that has a peer. Raises `RuntimeError` when it cannot be made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "wasmq-bench" / "-".join(word.split("[")[0].replace("==", "-") for word in peer.requirements)
    python, made = home / "bin" / "python", home / ".made"
    if not made.exists():
        say(f"queues: installing {peer.name}")
        for command in (
            [sys.executable, "-m", "venv", "--clear", home],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
        made.touch()
    return python


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Run a Redis of its own, which syncs its log before it answers; gives its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("no redis-server on the path: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="wasmq-bench-", dir="/var/tmp") as directory:
        words = "--bind 127.0.0.1 --appendonly yes --appendfsync always --loglevel warning"
        command = [program, "--port", str(port), "--dir", directory, *words.split(), "--save", ""]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _listening(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def postgres(cluster: Cluster) -> Iterator[str]:
    """Make a database on a server with its defaults, `fsync` and `synchronous_commit` on; gives its URL."""
    name = f"b_{uuid.uuid4().hex}"
    asyncio.run(execute(cluster.url, f"CREATE DATABASE {name}"))
    try:
        yield f"postgresql://postgres@/{name}?host={cluster.directory}"
    finally:
        asyncio.run(execute(cluster.url, f"DROP DATABASE {name} WITH (FORCE)"))


@contextlib.contextmanager
def sqlite() -> Iterator[str]:
    """Make room for a file of its own; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="wasmq-bench-", dir="/var/tmp") as directory:
        yield f"sqlite:///{directory}/jobs.db"


def ask(python: Path, program: str, url: str) -> Figures:
    """Return what the callers measure. Raises `RuntimeError` with the last line of a program that fails."""
    command = [python, PROGRAMS / f"{program}_peer.py"]
    with tempfile.TemporaryFile("w+") as words:
        worker = None
        if program != "wasmq":
            worker = subprocess.Popen([*command, "worker", url], stdout=words, stderr=words)
        try:
            time.sleep(0 if worker is None else 2)  # nothing says when a peer's worker is there
            done = subprocess.run(
                [*command, "callers", url], capture_output=True, text=True, timeout=LONGEST, check=False
            )
        except subprocess.TimeoutExpired:
            words.seek(0)
            raise RuntimeError(f"no answer in {LONGEST:.0f} s; its worker said: {words.read()[-200:]}") from None
        finally:
            if worker is not None:
                worker.terminate()
                try:
                    worker.wait(10)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    return msgspec.json.decode(done.stdout, type=Figures)


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    notes = []
    pythons: dict[Peer, Path] = {}
    for peer in PEERS:
        try:
            pythons[peer] = environment(peer)
        except RuntimeError as error:
            notes.append(f"{peer.name} is left out: {error}")
    binaries = server_binaries()
    if binaries is None:
        notes.append("PostgreSQL is left out: no initdb on the path; apt-get install postgresql")
    cluster = None if binaries is None else Cluster(binaries)
    stores = {"redis": redis, "sqlite": sqlite} | ({} if cluster is None else {"postgres": lambda: postgres(cluster)})
    found: dict[str, list[Figures]] = {}
    try:
        for _ in each_round("queues", rounds):
            tasks = [("wasmq", store, "wasmq", Path(sys.executable)) for store in ("sqlite", "postgres")]
            tasks += [(peer.name, peer.store, peer.program, python) for peer, python in pythons.items()]
            for name, store, program, python in tasks:
                if store not in stores:
                    continue
                try:
                    with stores[store]() as url:
                        figures = ask(python, program, url)
                except RuntimeError as error:
                    if program == "wasmq":
                        raise
                    notes.append(f"{name} on {SHOWN[store]} is left out: {error}")
                    continue
                say(f"queues: {name} on {SHOWN[store]}: {figures.rate:.0f} jobs/s")
                found.setdefault(f"{name} {store}", []).append(figures)
    finally:
        if cluster is not None:
            cluster.remove()
    rows = []
    for peer in pythons:
        theirs, ours = found.get(f"{peer.name} {peer.store}"), found.get(f"wasmq {OURS[peer.store]}")
        if theirs is None or ours is None:
            continue
        on = SHOWN[OURS[peer.store]]
        them = f"{peer.name} on {SHOWN[peer.store]}, {peer.waits}"
        rows += [
            Row(
                measured=f"durable no-op, 256 callers wait, {on}",
                kind="rate",
                ours=[each.rate for each in ours],
                peer=[each.rate for each in theirs],
                peer_is=them,
                target_ratio=3.0,
            ),
            Row(
                measured=f"durable no-op, one caller, p50, {on}",
                kind="seconds",
                ours=[quantile(each.alone, 0.5) for each in ours],
                peer=[quantile(each.alone, 0.5) for each in theirs],
                peer_is=them,
            ),
        ]
    notes += [
        "Ours is a sandboxed, metered `mul` in an instance of its own; theirs is a Python coroutine that multiplies.",
        (
            "Durable: SQLite WAL with `synchronous=FULL`; PostgreSQL "
            f"{_version('postgres', binaries)} with `fsync` and `synchronous_commit` on; Redis "
            f"{_version('redis-server', None)} with `appendonly yes` and `appendfsync always`. taskiq uses streams "
            "with acknowledgements and a Redis result backend; pgqueuer its durable tables, and records that a job "
            "ended, not its result. Callers that poll look every 5 ms when there is one "
            "and every 100 ms when there are 256; by default arq and SAQ look every 500 ms and taskiq every 200."
        ),
    ]
    return rows, notes


def _listening(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


def _version(program: str, directory: Path | None) -> str:
    """Return the version that a server's program names, without what else it says."""
    path = shutil.which(program, path=None if directory is None else str(directory))
    if path is None:
        return "(none)"
    words = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.split()
    return next((word.removeprefix("v=") for word in words if word.removeprefix("v=")[:1].isdigit()), "(unknown)")


if __name__ == "__main__":
    main("queues", measure, rounds=3)
