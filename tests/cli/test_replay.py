"""`wasmq replay` where the daemon's answer is not what was billed."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import msgspec
import pytest

from wasmq.cli import main
from wasmq.cli import replay as command
from wasmq.job import Call, Caps, Job, Outcome
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
