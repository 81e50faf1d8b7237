"""Resident memory of a daemon that has nothing to do, after ever more jobs: it should not grow.

    python -m benchmarks.idle

A scheduler on a SQLite file with its defaults, in a process of its own; its history is full after 10 000 jobs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import wasmq
from benchmarks import common
from benchmarks.common import GUESTS, ROOT, Row, each_round, main

CALLERS = 256
STEP = 20_000
STEPS = 5
FLAT = 1.1  # times the memory after the first step


async def daemon() -> None:
    """Run so many jobs and rest, again and again; prints the bytes of this process after each rest as JSON."""
    sizes = []
    with tempfile.TemporaryDirectory(prefix="wasmq-bench-", dir="/var/tmp") as directory:
        url = f"sqlite:///{directory}/jobs.db"
        async with wasmq.Scheduler(config=common.config(), workers=1, store=url) as scheduler:
            mul = await scheduler.load(GUESTS / "mul.wat")
            sizes.append(_resident())
            for _ in range(STEPS):
                left = STEP

                async def caller() -> None:
                    nonlocal left
                    while left > 0:
                        left -= 1
                        await scheduler.run(mul, "mul", 2, 4)

                await asyncio.gather(*(caller() for _ in range(CALLERS)))
                await asyncio.sleep(1.0)  # idle ticks prune the history
                gc.collect()
                sizes.append(_resident())
    print(json.dumps(sizes))


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    first, last, all_sizes = [], [], []
    for _ in each_round("idle", rounds):
        program = "import asyncio, benchmarks.idle as b; asyncio.run(b.daemon())"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, check=True)
        sizes = json.loads(done.stdout)
        all_sizes.append(", ".join(f"{size / 1e6:.1f}" for size in sizes))
        first.append(sizes[1])
        last.append(sizes[-1])
    row = Row(
        measured=f"resident memory of an idle daemon after {STEP * STEPS:,} jobs".replace(",", " "),
        kind="bytes",
        ours=last,
        peer=first,
        peer_is=f"after {STEP:,}".replace(",", " "),
        target_ratio=1 / FLAT,
    )
    return [row], [f"Resident MB before the first job and after each {STEP} more: {' | '.join(all_sizes)}."]


def _resident() -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


if __name__ == "__main__":
    main("idle", measure, rounds=1)
