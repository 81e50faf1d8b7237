"""A daemon in a process of its own, as `wasmq serve` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from benchmarks import common
from benchmarks.common import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


class Daemon(NamedTuple):
    """Where a daemon listens, and which process it is."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def daemon(*arguments: str, workers: int) -> Iterator[Daemon]:
    """Run a daemon with its store in memory while the block runs. Raises RuntimeError if it does not come up."""
    environment = {
        **os.environ,
        "WASMQ_MODULES__DIRECTORY": str(common.config().modules.directory),
        "WASMQ_SCHEDULER__STORE": "memory://",
    }
    command = [sys.executable, "-m", "wasmq", "serve", "--port", "0", "--workers", str(workers), "--json", *arguments]
    # Its log goes to a file, so that nobody has to read along. What is logged of each job is part of its price.
    log = Path(common.config().modules.directory or ".") / "daemon.log"
    with log.open("wb") as written, subprocess.Popen(command, cwd=ROOT, env=environment, stderr=written) as process:
        try:
            yield Daemon(_announced(log, process), process)
        finally:
            process.terminate()


def _announced(log: Path, process: subprocess.Popen[bytes]) -> str:
    while process.poll() is None:
        for line in log.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n") and b'"daemon.ready"' in line:
                return str(msgspec.json.decode(line)["url"])
        time.sleep(0.05)
    raise RuntimeError(f"the daemon ended with status {process.returncode}")
