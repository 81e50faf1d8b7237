"""How long until the first answer: one job from the shell with its module compiled before, and a worker on its own.

The peer of the first is a Python script that compiles the same module with the wasmtime package and calls it once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks import common
from benchmarks.common import GUESTS, Row, each_round, main
from benchmarks.driver import Worker

GUEST = GUESTS / "mul.wat"
RUN = [sys.executable, "-m", "wasmq", "run", str(GUEST), "mul", "2", "4"]
PEER_RUN = [
    sys.executable,
    "-c",
    "import sys, pathlib, benchmarks.peer as peer; print(peer.Guest(pathlib.Path(sys.argv[1]), 'mul').call(2, 4)[0])",
    str(GUEST),
]


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    environment = {**os.environ, "WASMQ_MODULES__DIRECTORY": str(common.config().modules.directory)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as where people install it: Python is not compiled each time
    runs, peer_runs, ready = [], [], []
    _answer(RUN, environment)  # fills the cache
    for _ in each_round("startup", rounds):
        runs.append(_answer(RUN, environment))
        peer_runs.append(_answer(PEER_RUN, environment))
        worker = Worker()
        worker.close()
        ready.append(worker.ready_after)
    rows = [
        Row(
            measured="`wasmq run mul.wat mul 2 4`, the whole process",
            kind="seconds",
            ours=runs,
            peer=peer_runs,
            peer_is="a script with wasmtime",
            target=0.5,
        ),
        Row(measured="a worker, from its start until it takes jobs", kind="seconds", ours=ready, target=0.2),
    ]
    note = (
        "`wasmq run` finds the module compiled and starts a worker process besides; the script compiles it anew, and "
        "runs the guest in its own process."
    )
    return rows, [note]


def _answer(command: list[str], environment: dict[str, str]) -> float:
    """Return the seconds that a command takes to say 8."""
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=common.ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode or done.stdout.strip() != "8":
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr or done.stdout}")
    return seconds


if __name__ == "__main__":
    main("startup", measure, rounds=9)
