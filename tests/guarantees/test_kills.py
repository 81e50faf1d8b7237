"""Promises 1 to 4 and 9 under fire: workers, daemons and the database's server are killed, connections are cut.

Meanwhile clients submit over HTTP and journal what was acknowledged; at the end the store's own tables must agree with
the journals. WASMQ_TEST_SEED repeats a run: who is killed in which order; what it hits is the machine's choice.
"""

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter

import msgspec
import pytest
from conftest import GUESTS
from kills import Clients, Daemon, Found, Network, Server, alive, in_postgres, in_sqlite, judge, until
from kills_client import SIZES
from postgres import execute, missing, server_binaries

import wasmq

pytest.importorskip("litestar")

ATTEMPTS = 3
CLIENTS = 3
APART = 40  # acknowledgements from one kill to the next, at most
SQLITE = {"worker": 1, "daemon": 1}
POSTGRES = {"worker": 3, "daemon": 3, "postmaster": 1, "crash": 1, "cut": 2}
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = $1"
ASK = """
import sys, urllib.request
method, url, media = sys.argv[1:]
data = sys.stdin.buffer.read() or None
request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": media})
with urllib.request.urlopen(request, timeout=30) as answer:
    sys.stdout.buffer.write(answer.read())
"""


class Battle:
    """Daemons on one store, their clients, and who shoots at them."""

    def __init__(self, directory, store, daemons, seed, server=None, network=None):
        self.choice = random.Random(seed)
        self.server = server
        self.network = network
        self.daemons = [Daemon(directory, number, store, network, ATTEMPTS) for number in range(daemons)]
        for daemon in self.daemons:
            daemon.start_ready()
        wasm = (GUESTS / "loop.wat").read_bytes()
        self.digest = self.ask("PUT", "/v1/modules", wasm, "application/wasm")["digest"]
        self.fuel = {}
        for size in SIZES:
            call = {"module": self.digest, "export": "burn", "args": [size], "tenant": "reference"}
            job = self.ask("POST", "/v1/jobs", msgspec.json.encode(call))
            self.fuel[size] = self.ask("GET", f"/v1/jobs/{job['id']}?wait=30")["outcome"]["fuel_used"]
        ports = [daemon.port for daemon in self.daemons]
        self.clients = Clients(directory, ports, self.digest, CLIENTS, seed, network)

    def ask(self, method, path, body=b"", media="application/json"):
        """Send a request to the first daemon, from inside the network, and return the decoded answer."""
        url = f"http://127.0.0.1:{self.daemons[0].port}{path}"
        command = [*(self.network.prefix if self.network else []), sys.executable, "-c", ASK, method, url, media]
        return msgspec.json.decode(subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True).stdout)

    def fight(self, weights, kills):
        """Kill so often, each time when some more jobs have been acknowledged."""
        done = Counter()
        # Each kind at least once, where there is room for it.
        turns = [*weights, *self.choice.choices(list(weights), list(weights.values()), k=kills)][:kills]
        self.choice.shuffle(turns)
        for kind in turns:
            wanted = self.clients.acknowledged() + self.choice.randint(1, APART)
            until(lambda wanted=wanted: self.clients.acknowledged() >= wanted, "acknowledgements")
            getattr(self, kind)()
            done[kind] += 1
        print(dict(done))
        return done

    def worker(self):
        """Kill a worker."""
        daemon = self.choice.choice(self.daemons)
        pid = self.choice.choice(until(daemon.workers, "a worker"))
        os.kill(pid, 9)

    def daemon(self):
        """Kill a daemon, and start it again."""
        daemon = self.choice.choice(self.daemons)
        daemon.kill()
        daemon.start_ready()

    def postmaster(self):
        """Kill the server's first process, and start the server again."""
        self.server.kill()
        self.server.start_again()

    def crash(self):
        """Have all of the server's processes die at once, and start it again."""
        self.server.stop("immediate")
        self.server.start()

    def cut(self):
        """Cut every connection to the server."""
        asyncio.run(execute(self.server.url, CUT, "client backend"))

    def network_lost(self):
        """Lose everything that is sent, and tell nobody, until a daemon has found its store away."""
        logs = [daemon.log for daemon in self.daemons]
        before = sum(log.read_text().count("store.") for log in logs)
        self.network.switch("down")
        try:
            until(lambda: sum(log.read_text().count("store.") for log in logs) > before, "a daemon that notices")
        finally:
            self.network.switch("up")

    def peace(self):
        """Have everything finished and everybody stopped; returns what the journals say and what is left behind."""
        journal = self.clients.stop()
        for state in ("queued", "running"):
            until(
                lambda state=state: not self.ask("GET", f"/v1/jobs?status={state}&limit=1")["jobs"], f"no {state} job"
            )
        assert [daemon.drain() for daemon in self.daemons] == [0] * len(self.daemons)
        return journal

    def end(self):
        """End what still runs, when the test has failed."""
        self.clients.kill()
        for daemon in self.daemons:
            if daemon.running.poll() is None:
                daemon.kill()

    def check(self, journal, found):
        """Everything that was accepted has one outcome, told once, and nothing is left behind."""
        found = {job_id: rows for job_id, rows in found.items() if rows[0].tenant != "reference"}
        judge(journal, found, self.fuel, ATTEMPTS)
        events = [event for daemon in self.daemons for event in daemon.events()]
        ends = [event for event in events if event["event"] == "job.finished" and event["tenant"] != "reference"]
        assert max(Counter(event["job"] for event in ends).values()) == 1
        for event in ends:
            [row] = found[event["job"]]
            assert (event["status"], event["fuel"]) == (row.outcome.status, row.outcome.fuel_used)
        assert [event for event in events if event.get("level") in ("error", "critical")] == []
        # Workers of a daemon that was killed end on their own.
        seen = {pair for daemon in self.daemons for pair in daemon.seen}
        until(lambda: not [pid for pid, started in seen if alive(pid) == started], "the end of every worker")
        assert [file for daemon in self.daemons for file in daemon.temporary.iterdir()] == []
        print(f"{len(found)} jobs, {Counter(rows[0].outcome.status for rows in found.values())}")


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_nothing_accepted_is_lost_in_a_file(tmp_path, seed, kills):
    """One daemon on SQLite: it and its workers are killed, and every acknowledged job has one outcome in the end."""
    path = tmp_path / "jobs.db"
    battle = Battle(tmp_path, f"sqlite:///{path}", 1, seed)
    try:
        assert battle.fight(SQLITE, kills).total() == kills
        journal = battle.peace()
    finally:
        battle.end()
    assert sorted(file.name for file in tmp_path.glob("jobs.db*")) == ["jobs.db", "jobs.db-lock"]
    battle.check(journal, in_sqlite(path))


@pytest.fixture
def network():
    """A network of the test's own, or None, with the reason printed."""
    why_not = Network.why_not()
    if why_not is not None:
        print(f"no network is cut: {why_not}")
        yield None
        return
    network = Network()
    yield network
    network.remove()


@pytest.fixture
def server(network):
    """A PostgreSQL server of the test's own, in its network where there is one."""
    binaries = server_binaries()
    if binaries is None:
        missing("the kill harness needs a server that it may kill")
    server = Server(binaries, network)
    yield server
    server.remove()


@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_nothing_accepted_is_lost_on_a_server(tmp_path, seed, server, network, kills):
    """Two daemons on PostgreSQL: they, their workers, the server and what connects them fail in any order."""
    weights = POSTGRES if network is None else {**POSTGRES, "network_lost": 1}
    battle = Battle(tmp_path, server.daemons_url, 2, seed, server, network)
    try:
        assert battle.fight(weights, kills).total() == kills
        journal = battle.peace()
    finally:
        battle.end()
    battle.check(journal, in_postgres(server))


def ended(status="succeeded", fuel=7, attempts=1):
    """A row of a job that has ended."""
    outcome = wasmq.Outcome(status=status, fuel_used=fuel, attempts=attempts)
    return Found("t", status, attempts, outcome)


TOLD = {"key": "k", "id": "1", "size": 0, "tenant": "t"}


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ({}, "missing"),
        ({"1": [ended()], "2": [ended()]}, "nobody submitted"),
        ({"1": [ended(), ended()]}, "recorded 2 times"),
        ({"1": [Found("t", "running", 1, None)]}, "is running"),
        ({"1": [ended(attempts=ATTEMPTS + 1)]}, "started 4 times"),
        ({"1": [ended("lost", 0, attempts=ATTEMPTS - 1)]}, "lost"),
        ({"1": [ended(fuel=8)]}, "bills"),
    ],
)
def test_the_judge_sees_what_is_wrong(found, complaint):
    """A job that is missing, doubled, unfinished, started too often, given up too early or billed wrongly is found."""
    judge([TOLD], {"1": [ended()]}, {0: 7}, ATTEMPTS)
    with pytest.raises(AssertionError, match=complaint):
        judge([TOLD], found, {0: 7}, ATTEMPTS)


def test_the_judge_sees_an_outcome_that_changed():
    """What a client has seen is what the tables say in the end."""
    seen = {"seen": "1", "outcome": {"status": "succeeded", "fuel_used": 6, "attempts": 1}}
    with pytest.raises(AssertionError, match="job 1 changed"):
        judge([TOLD, seen], {"1": [ended()]}, {0: 7}, ATTEMPTS)
