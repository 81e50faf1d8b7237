"""`wasmq replay` where the daemon's answer is not what was billed."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import msgspec
import pytest
from daemons import daemon as running_daemon

from wasmq.cli import main
from wasmq.cli import replay as command
from wasmq.cli.exits import UsageError
from wasmq.config import HostConfig, HostFunctionConfig, SchedulerConfig, ServerConfig, Tenant
from wasmq.job import Call, Caps, Job, Outcome
from wasmq.receipts import recording_digest
from wasmq.recording import Recording
from wasmq.replay import compared

JOB = Job(
    id="a",
    call=Call("f" * 64, "run", (1,)),
    caps=Caps(10, 20, 3.0, 40, 50),
    tenant="acme",
    priority=7,
    key=None,
    submitted_at=1.0,
    due=2.0,
    order=3.0,
    cost=4.0,
    varies=None,
)
THEN = Outcome(status="succeeded", values=(8,), fuel_used=4, engine="native", engine_version="wasmtime 1 r1", basis=JOB)


@pytest.fixture
def daemon(monkeypatch):
    """Let the command talk to a daemon that runs every job otherwise than before."""

    class Client:
        async def replay(self, job):
            now = msgspec.structs.replace(THEN, values=(9,), fuel_used=5, engine_version="wasmtime 2 r1")
            return compared(job, "b", THEN, now)

    @asynccontextmanager
    async def connect(url, token):
        yield Client()

    monkeypatch.setattr(command, "connect", connect)


def test_what_differs_is_printed(daemon, capsys):
    """A line for each difference, what is to be known besides on stderr, and exit status 1."""
    assert main(["replay", "a"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "fuel: 4 then, 5 now\nvalue: 8 then, 9 now\n"
    assert printed.err == "wasmq: the engine was wasmtime 1 r1 then and is wasmtime 2 r1 now\n"
    assert main(["replay", "a", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["agrees"], found["again"], found["then"]["fuel"], found["now"]["fuel"]) == (False, "b", 4, 5)


def test_files_are_for_a_run_of_ones_own(daemon, capsys, guests):
    """The daemon would not look at them."""
    assert main(["replay", "a", "--module", str(guests / "mul.wat")]) == 2
    assert "--module goes with --engine" in capsys.readouterr().err


DICE = """(module
  (import "dice" "throw" (func $throw (param i32) (result i64)))
  (func (export "sum") (result i64) (i64.add (call $throw (i32.const 60)) (call $throw (i32.const 61)))))"""


def test_recorded_host_calls_are_replayed(wasmq, config, tmp_path):
    """By the daemon, and here by either engine, where nobody has the function."""
    dice = HostFunctionConfig(path="random:getrandbits", params=("i32",), results=("i64",), price=700)
    changes = {
        "scheduler": SchedulerConfig(workers=1, store="memory://"),
        "server": ServerConfig(port=0),
        "host": HostConfig(functions={"dice.throw": dice}),
        "tenants": {"default": Tenant(grant=("dice.throw",))},
    }
    file = tmp_path / "dice.wat"
    file.write_text(DICE)
    with running_daemon(msgspec.structs.replace(config, **changes)) as daemon:

        def call(*words):
            return wasmq(*words, "--url", daemon.url)

        done = call("submit", file, "sum", "--record", "--recording", "1KiB", "--wait", "--json")
        job = json.loads(done.stdout)
        receipt = job["outcome"]["receipt"]
        assert (done.returncode, receipt["deterministic"], receipt["fuel"] > 1_400) == (0, True, True)
        for more in ((), ("--engine", "native"), ("--engine", "interpreter")):
            done = call("replay", job["id"], *more)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith(f"agrees: succeeded, {receipt['fuel']} fuel, result {receipt['result'][:12]}")
        plain = json.loads(call("submit", file, "sum", "--wait", "--json").stdout)["id"]
        for more in ((), ("--engine", "native")):
            done = call("replay", plain, *more)
            assert (done.returncode, 'not submitted with "record"' in done.stderr) == (77, True)


async def test_another_recording_than_the_receipts_is_refused():
    """Whoever sent it: the receipt says which one it was."""
    recording = Recording((), 1, ())

    class Client:
        async def recording(self, job):
            return recording

    assert await command._recording(Client(), "a", recording_digest(recording.pack())) == recording.pack()
    with pytest.raises(UsageError, match="another recording than its receipt names"):
        await command._recording(Client(), "a", "0" * 64)
