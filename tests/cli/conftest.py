"""The real command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUESTS = Path("workers/guests")  # relative to ROOT, as a user would write it


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """The environment of every command: this tree's packages, a module cache that all of them share, no settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WASMQ_")}
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "workers")]),
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
        "NO_COLOR": "1",
    }


@pytest.fixture
def wasmq(environment):
    """Run `wasmq` with these words until it ends; returns the finished process with its output as text."""

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wasmq", *map(str, words)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


@pytest.fixture
def spawn(environment):
    """Start `wasmq` with these words, and `env` added; whatever still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: object, env: dict[str, str] | None = None, **options: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "wasmq", *map(str, words)],
            env=environment | (env or {}),
            text=True,
            **{"cwd": ROOT, **options},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            if process.poll() is None:
                process.kill()
