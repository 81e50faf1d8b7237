"""The peer: what a Python program does today, with nothing but the `wasmtime` package's public classes.

A module is compiled once in each process, and every call gets a fresh `Store` and `Instance` with a fuel and a memory
limit, closed when it is done, as wasmq's jobs do. What it cannot do is stop a call: there is no time limit, no
cancelling, and no turn for the next one until this one is through.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from wasmtime import Config, Engine, Linker, Module, Store

from wasmq.config import LimitsConfig

FUEL = LimitsConfig().fuel
MEMORY = int(LimitsConfig().memory)


class Guest:
    """One export of one module, ready to be called."""

    def __init__(self, path: Path, export: str, *, metered: bool = True, target: str | None = None) -> None:
        settings = Config()
        settings.consume_fuel = metered
        if target is not None:
            settings.target = target
        self._metered = metered
        self._engine = Engine(settings)
        # Faster than naming the imports at each instantiation.
        self._ready = Linker(self._engine).instantiate_pre(Module(self._engine, path.read_text(encoding="utf-8")))
        self._export = export

    def call(self, *args: int) -> tuple[int, int]:
        """Return the result of one call in a fresh instance, and its fuel; 0 when that is not metered."""
        store = Store(self._engine)
        store.set_limits(memory_size=MEMORY)
        if self._metered:
            store.set_fuel(FUEL)
        value = self._ready.instantiate(store).exports(store)[self._export](store, *args)
        fuel = FUEL - store.get_fuel() if self._metered else 0
        store.close()
        return value, fuel


_guest: Guest


def executor(processes: int, path: Path, export: str) -> ProcessPoolExecutor:
    """Return a pool of processes for `call` and `loop`, which have compiled the module and answered once."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(path, export))
    # A process is started for each task that finds no idle one: this many at once start them all.
    list(pool.map(_linger, [0.2] * processes))
    return pool


def call(*args: int) -> int:
    """Call the export in this process of the pool."""
    return _guest.call(*args)[0]


def call_with(args: tuple[int, ...]) -> int:
    """Call the export as `map` wants it."""
    return call(*args)


def loop(count: int, *args: int) -> float:
    """Return the seconds that so many calls take, one after the other."""
    run = partial(_guest.call, *args)
    start = time.perf_counter()
    for _ in range(count):
        run()
    return time.perf_counter() - start


def _begin(path: Path, export: str) -> None:
    global _guest
    _guest = Guest(path, export)


def _linger(seconds: float) -> None:
    time.sleep(seconds)
