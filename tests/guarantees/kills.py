"""What the kill harness starts and kills: daemons, clients, a PostgreSQL server; and what it reads at the end."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postgres import Cluster, execute

from wasmq.store.records import decode_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmq.job import Outcome

ROOT = Path(__file__).parents[2]
CLIENT = Path(__file__).with_name("kills_client.py")
PATIENCE = 60.0
"""Seconds after which whatever is waited for is not going to happen."""
_GLANCE = 0.01
_SETTINGS = """
[scheduler]
max_attempts = {attempts}
grace = 30.0
[store]
history = {history}
lease = {lease}
timeout = 3.0
[modules]
directory = "{modules}"
"""


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return what `condition` says once it is true. For what happens in other processes."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:.0f} s"
        time.sleep(_GLANCE)
    return found


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def alive(pid: int) -> str | None:
    """Return when a process started, or None when it has ended: pids are used again, pairs are not."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    return None


def children(pid: int) -> list[int]:
    """Return the child processes of a process, oldest first."""
    found: set[int] = set()
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found.update(map(int, (task / "children").read_text().split()))
    return sorted(found)


class Network:
    """A network of its own for server, daemons and clients, whose only interface can be taken down."""

    def __init__(self) -> None:
        self.name = f"wq-{uuid.uuid4().hex[:8]}"
        self.prefix: list[str] = ["ip", "netns", "exec", self.name]
        _do("ip", "netns", "add", self.name)
        self.switch("up")

    @staticmethod
    def why_not() -> str | None:
        """Say why there cannot be one on this machine; None when there can."""
        if shutil.which("ip") is None or shutil.which("setpriv") is None:
            return "no `ip` or no `setpriv` on this machine"
        name = f"wq-{uuid.uuid4().hex[:8]}"
        tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
        if tried.returncode:
            return f"ip netns add: {tried.stderr.strip()}"
        _do("ip", "netns", "delete", name)
        return None

    def switch(self, state: str) -> None:
        """Take the interface "up" or "down": what is sent meanwhile gets lost, and nobody is told."""
        _do(*self.prefix, "ip", "link", "set", "lo", state)

    def remove(self) -> None:
        """Remove it."""
        _do("ip", "netns", "delete", self.name)


class Server(Cluster):
    """A private PostgreSQL server that dies; in a network it listens on its loopback address too."""

    def __init__(self, binaries: Path, network: Network | None) -> None:
        self._network = network
        super().__init__(binaries)

    @property
    def daemons_url(self) -> str:
        """The URL by which daemons reach it, through the network where there is one."""
        return self.url if self._network is None else "postgresql://postgres@127.0.0.1:5432/postgres"

    def _options(self) -> str:
        text = super()._options()
        return text if self._network is None else text.replace("listen_addresses=''", "listen_addresses='127.0.0.1'")

    def _prefix(self) -> list[str]:
        if self._network is None:
            return []
        account = pwd.getpwnam("postgres")
        rights = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        return [*self._network.prefix, *rights]

    def kill(self) -> None:
        """Kill the postmaster."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        # Its successor refuses to start as long as there is a process of that number.
        until(lambda: not Path(f"/proc/{pid}").exists(), "the postmaster's end")

    def start_again(self) -> None:
        """Start it after it was killed, as soon as the last of its processes lets go of the memory they shared."""

        def started() -> bool:
            try:
                self.start()
            except AssertionError as error:
                words = (self.directory / "log").read_text()[-2000:]
                if "shared memory" in words:
                    return False
                raise AssertionError(words) from error
            return True

        until(started, "the server's restart")


class Daemon:
    """`wasmq serve` on a port of its own, started again and again."""

    def __init__(
        self,
        directory: Path,
        number: int,
        store: str,
        network: Network | None,
        attempts: int,
        *,
        history: int = 1_000_000,
        workers: int = 1,
    ) -> None:
        self.port = free_port()
        self.log = directory / f"daemon-{number}.log"
        self.log.touch()
        self.temporary = directory / f"tmp-{number}"
        self.temporary.mkdir()
        self.seen: set[tuple[int, str]] = set()
        """Every process that this daemon ever had as a child, as far as it was looked at."""
        settings = directory / f"daemon-{number}.toml"
        modules = directory / f"modules-{number}"
        settings.write_text(_SETTINGS.format(attempts=attempts, history=history, lease=2.0, modules=modules))
        words = ("serve", "--json", "--config", settings, "--port", self.port, "--workers", workers, "--store", store)
        self._command = [*(network.prefix if network else []), sys.executable, "-m", "wasmq", *map(str, words)]
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("WASMQ_")} | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "workers")]),
            "TMPDIR": str(self.temporary),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start_ready(self) -> None:
        """Start it, and return once it says that it answers."""
        before = self.log.read_text().count("daemon.ready")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        until(lambda: self._says_ready(before), f"the daemon on port {self.port}")

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self.process is not None
        return self.process

    def events(self) -> list[dict[str, Any]]:
        """Return what all its lives have logged; the last line of a life may be cut off."""
        found = []
        for line in self.log.read_text().splitlines():
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def _says_ready(self, before: int) -> bool:
        status = self.running.poll()
        assert status is None, f"the daemon ended with {status}: {self.log.read_text()[-2000:]}"
        return self.log.read_text().count("daemon.ready") > before

    def workers(self) -> list[int]:
        """Return its worker processes."""
        found = []
        for pid in children(self.running.pid):
            started = alive(pid)
            if started is not None:
                self.seen.add((pid, started))
                with suppress(OSError):
                    if b"wasmq_worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        found.append(pid)
        return found

    def kill(self) -> None:
        """Kill it as the kernel would."""
        self.workers()
        self.running.kill()
        self.running.wait(PATIENCE)

    def drain(self) -> int:
        """Ask it to stop, and return its exit status."""
        self.workers()
        self.running.terminate()
        return self.running.wait(PATIENCE)


class Clients:
    """Processes that submit, and what they were told."""

    def __init__(
        self, directory: Path, ports: Sequence[int], digest: str, count: int, seed: int, network: Network | None
    ) -> None:
        self._journals = [directory / f"journal-{number}" for number in range(count)]
        self._processes = []
        for number, journal in enumerate(self._journals):
            journal.touch()
            words = (",".join(map(str, ports)), digest, f"tenant-{number}", f"{seed}-{number}", journal)
            self._processes.append(
                subprocess.Popen(
                    [*(network.prefix if network else []), sys.executable, str(CLIENT), *map(str, words)],
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )

    def acknowledged(self) -> int:
        """Return how many lines the journals have; a client that has ended is an error."""
        for process in self._processes:
            assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
        return sum(journal.read_bytes().count(b"\n") for journal in self._journals)

    def stop(self) -> list[dict[str, Any]]:
        """Have them finish what they are at; returns the lines of their journals."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            _, errors = process.communicate(timeout=PATIENCE)
            assert (process.returncode, errors) == (0, "")
        return [json.loads(line) for journal in self._journals for line in journal.read_text().splitlines()]

    def kill(self) -> None:
        """End them at once, when the test has failed already."""
        for process in self._processes:
            process.kill()
            process.communicate()


class Found:
    """One job in the store's tables."""

    def __init__(self, tenant: str, status: str, attempts: int, outcome: Outcome | None) -> None:
        self.tenant, self.status, self.attempts, self.outcome = tenant, status, attempts, outcome


def in_sqlite(path: Path) -> dict[str, list[Found]]:
    """Read a file's tables; one entry for each row of a job."""
    found: dict[str, list[Found]] = {}
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = connection.execute(
            "SELECT id, tenant, status, attempt - returned, coalesce(outputs.outcome, jobs.outcome), ended IS NULL"
            " FROM jobs LEFT JOIN outputs USING (seq)"
        ).fetchall()
    connection.close()
    for job_id, tenant, status, attempts, outcome, open_still in rows:
        ended = None if open_still else decode_outcome(outcome)
        found.setdefault(job_id, []).append(Found(tenant, status, attempts, ended))
    return found


def in_postgres(server: Server) -> dict[str, list[Found]]:
    """Read a server's tables, through its socket in the file system; one entry for each row of a job."""
    found: dict[str, list[Found]] = {}
    queued = asyncio.run(execute(server.url, "SELECT id, tenant, state, attempt - returned AS n FROM wasmq_jobs"))
    ended = asyncio.run(
        execute(server.url, "SELECT id, tenant, status, attempt - returned AS n, outcome FROM wasmq_finished")
    )
    for row in queued:
        found.setdefault(row["id"], []).append(Found(row["tenant"], row["state"], row["n"], None))
    for row in ended:
        outcome = decode_outcome(row["outcome"])
        found.setdefault(row["id"], []).append(Found(row["tenant"], row["status"], row["n"], outcome))
    return found


def judge(journal: list[dict[str, Any]], found: dict[str, list[Found]], fuel: dict[int, int], attempts: int) -> None:
    """Compare what clients were told with what the tables say.

    `fuel` is what a job of each size costs, `attempts` the most that a job may have.
    """
    told = {line["id"]: line for line in journal if "id" in line}
    seen = {line["seen"]: line["outcome"] for line in journal if "seen" in line}
    assert told, "nothing was acknowledged"
    assert set(told) - set(found) == set(), "acknowledged jobs are missing"
    assert set(found) - set(told) == set(), "there are jobs that nobody submitted"
    keys = Counter((line["tenant"], line["key"]) for line in told.values())
    assert max(keys.values()) == 1, "two jobs have one key"
    expected: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    for job_id, rows in found.items():
        assert len(rows) == 1, f"job {job_id} is recorded {len(rows)} times"
        [row] = rows
        outcome = row.outcome
        assert outcome is not None, f"job {job_id} is {row.status}, and all were waited for"
        assert 1 <= row.attempts <= attempts, f"job {job_id} was started {row.attempts} times"
        assert outcome.attempts == row.attempts, f"job {job_id} says {outcome.attempts} attempts of {row.attempts}"
        assert outcome.status == row.status
        spent[row.tenant] += outcome.fuel_used
        if outcome.status == "succeeded":
            expected[row.tenant] += fuel[told[job_id]["size"]]
        else:
            assert (outcome.status, row.attempts) == ("lost", attempts), f"job {job_id}: {outcome.status}"
        if job_id in seen:
            told_then = (seen[job_id]["status"], seen[job_id]["fuel_used"], seen[job_id]["attempts"])
            assert told_then == (outcome.status, outcome.fuel_used, outcome.attempts), f"job {job_id} changed"
    assert spent == expected, "the bills differ from what the jobs cost"


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
