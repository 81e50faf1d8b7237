"""What metering and slicing cost a guest that computes: fib(30), on machine code and on the interpreter.

The peer is one call with the wasmtime package's public classes: unmetered, and metered in one piece. The fuel must be
the same to the unit whoever counts it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks import common
from benchmarks.common import GUESTS, Row, each_round, figure, main
from benchmarks.peer import Guest
from wasmq import Scheduler

if TYPE_CHECKING:
    from wasmq.config import EngineName

N = 30
ANSWER = 832_040
TARGETS: dict[EngineName, str | None] = {"native": None, "interpreter": "pulley64"}
NAMES = {"native": "machine code", "interpreter": "the interpreter"}
QUANTA = (1_000, 10_000_000)  # fuel: fib(30) in thousands of slices, and in a few


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    return asyncio.run(_measure(rounds))


async def _measure(rounds: int) -> tuple[list[Row], list[str]]:
    path = GUESTS / "fib.wat"
    rows = []
    ours_fuel: list[float] = []
    peer_fuel: list[float] = []
    for engine, target in TARGETS.items():
        bare = Guest(path, "fib", metered=False, target=target)
        metered = Guest(path, "fib", target=target)
        sliced, in_one, unmetered = [], [], []
        async with Scheduler(config=common.config(), workers=1, engine=engine) as scheduler:
            fib = await scheduler.load(path)
            await scheduler.run(fib, "fib", 1)
            for _ in each_round(f"fuel, {engine}", rounds):
                start = time.perf_counter()
                outcome = await scheduler.run(fib, "fib", N)
                sliced.append(time.perf_counter() - start)
                _check(outcome.value)
                ours_fuel.append(outcome.fuel_used)
                seconds, fuel = _peer(metered)
                in_one.append(seconds)
                peer_fuel.append(fuel)
                unmetered.append(_peer(bare)[0])
        for peer, words in ((unmetered, "unmetered"), (in_one, "metered")):
            rows.append(
                Row(
                    measured=f"fib({N}) on {NAMES[engine]}, metered and sliced",
                    kind="seconds",
                    ours=sliced,
                    peer=peer,
                    peer_is=f"{words}, in one piece",
                )
            )
        ours_fuel += [await _fuel(engine, quantum) for quantum in QUANTA]
    rows.append(
        Row(
            measured=f"fuel of fib({N}), every engine and every quantum",
            kind="fuel",
            ours=ours_fuel,
            peer=peer_fuel,
            peer_is="wasmtime's public classes",
        )
    )
    sizes = [figure(quantum, "fuel") for quantum in (common.config().scheduler.quantum, *QUANTA)]
    notes = [f"Slices are {sizes[0]} fuel; the fuel is compared in slices of {sizes[1]} and {sizes[2]} too."]
    return rows, notes


async def _fuel(engine: EngineName, quantum: int) -> int:
    async with Scheduler(config=common.config(), workers=1, engine=engine, quantum=quantum) as scheduler:
        outcome = await scheduler.run(await scheduler.load(GUESTS / "fib.wat"), "fib", N)
    _check(outcome.value)
    return outcome.fuel_used


def _peer(guest: Guest) -> tuple[float, int]:
    """Return the seconds and the fuel of one call."""
    start = time.perf_counter()
    value, fuel = guest.call(N)
    seconds = time.perf_counter() - start
    _check(value)
    return seconds, fuel


def _check(value: int) -> None:
    if value != ANSWER:
        raise RuntimeError(f"fib({N}) is {ANSWER}, not {value}")


if __name__ == "__main__":
    main("fuel", measure, rounds=9)
