"""The peer on several cores: a `ProcessPoolExecutor`, each of whose processes has compiled the module once."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.peer import Guest

if TYPE_CHECKING:
    from pathlib import Path

_guest: Guest


def executor(processes: int, path: Path, export: str) -> ProcessPoolExecutor:
    """Return a pool whose processes are all there and have answered."""
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
    start = time.perf_counter()
    for _ in range(count):
        _guest.call(*args)
    return time.perf_counter() - start


def _begin(path: Path, export: str) -> None:
    global _guest
    _guest = Guest(path, export)


def _linger(seconds: float) -> None:
    time.sleep(seconds)
