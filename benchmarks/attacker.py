"""Who attacks: a process that makes the attacks of tests/attacks on a daemon, as standard input names them.

It says first that it is ready. Each line is a kind, an attack and the seconds for which to repeat it; each is answered
with a line that says how often it came to its end, or why it is not contained. `benchmarks/attacks.py` starts this.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

import wasmq
from benchmarks.common import ROOT

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "attacks")]

import arena  # noqa: E402

if TYPE_CHECKING:
    from types import ModuleType

PATIENCE = 120.0
"""Seconds after which one attack has failed: it hangs."""
NICE = 5  # an attacker brings a machine of its own: here it has what the daemon and the victim leave


class Attacked(msgspec.Struct, frozen=True, kw_only=True):
    """How an attack went: how often it was made, and what was not contained."""

    times: int
    problem: str = ""


class Place(NamedTuple):
    """A daemon, as the attacks by clients know it."""

    url: str
    port: int


async def _repeat(kind: str, attack: ModuleType, url: str, seconds: float) -> Attacked:
    times, end = 0, time.perf_counter() + seconds
    try:
        while not times or time.perf_counter() < end:
            async with asyncio.timeout(PATIENCE):
                await _once(kind, attack, url)
            times += 1
    except Exception as error:
        return Attacked(times=times, problem=f"{type(error).__name__}: {error}".splitlines()[0])
    return Attacked(times=times)


async def _once(kind: str, attack: ModuleType, url: str) -> None:
    if kind == "by_clients":
        await attack.attack(Place(url, int(url.rpartition(":")[2])))
    else:
        # What `Client` takes and answers is what `Scheduler` does: to a guest's attack it is the same.
        async with wasmq.Client(url, token="token-of-attacker") as client:
            await attack.attack(client)


def main() -> None:
    """Make attacks until standard input ends; the only argument is where the daemon is."""
    os.nice(NICE)
    print("ready", flush=True)
    for line in sys.stdin:
        kind, name, seconds = line.split()
        outcome = asyncio.run(_repeat(kind, arena.attack(kind, name), sys.argv[1], float(seconds)))
        print(msgspec.json.encode(outcome).decode(), flush=True)


if __name__ == "__main__":
    main()
