"""WASI programs: a command with 1 KB in and 1 KB out, and what one call of the host costs.

The peers do the same work: `subprocess` runs a fresh Python that does it, and the wasmtime package's public classes run
the same program in this process, with the input and the output in files, as they offer nothing else.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import wasmtime

from benchmarks import common
from benchmarks.common import GUESTS, Row, each_round, main, quantile
from wasmq import Limits, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq import Module

HELLO: Final = GUESTS / "wasi" / "hello.wasm"
CALLS: Final = GUESTS / "wasi" / "calls.wat"
LINE: Final = b"nobody waits behind a hog; a dying worker hurts only who killed it.\n"
INPUT: Final = (LINE * 16)[:1024]
SCRIPT: Final = "import sys; sys.stdout.write(sys.stdin.read().upper())"
ALONE, PEER_ALONE, PROCESSES = 500, 500, 20
REPEATED: Final = 5_000
LIMITS: Final = Limits(fuel=10**9, output="1MiB")


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(rounds, Peer(Path(directory))))


async def _measure(rounds: int, peer: Peer) -> tuple[list[Row], list[str]]:
    ours: list[float] = []
    in_process: list[float] = []
    processes: list[float] = []
    calls: dict[str, list[float]] = {name: [] for name in ("write", "read", "open", "list", "clock")}
    peer_calls: dict[str, list[float]] = {name: [] for name in calls}
    async with Scheduler(config=common.config(), workers=1) as scheduler:
        hello, repeated = await scheduler.load(HELLO), await scheduler.load(CALLS)
        for _ in each_round("wasi", rounds):
            ours.append(quantile([await _hello(scheduler, hello) for _ in range(ALONE)], 0.5))
            in_process.append(quantile([peer.hello() for _ in range(PEER_ALONE)], 0.5))
            processes.append(quantile([_process() for _ in range(PROCESSES)], 0.5))
            for name in calls:
                calls[name].append(await _repeated(scheduler, repeated, name))
                peer_calls[name].append(peer.repeated(name))
    said = "a command, 1 KB in and out, p50"
    rows = [
        Row(measured=said, kind="seconds", ours=ours, peer=processes, peer_is="`subprocess`, `python -c`"),
        Row(measured=said, kind="seconds", ours=ours, peer=in_process, peer_is="wasmtime's public classes, in process"),
    ]
    for name, what in (
        ("write", "64 bytes to standard output"),
        ("read", "64 bytes from standard input"),
        ("open", "a file opened and closed, two calls"),
        ("list", "a directory of one file listed"),
        ("clock", "the clock read"),
    ):
        rows.append(
            Row(
                measured=f"one call: {what}",
                kind="seconds",
                ours=calls[name],
                peer=peer_calls[name],
                peer_is="wasmtime's own WASI, the machine's files",
            )
        )
    return rows, [
        "A call of the host is a Python function here and compiled Rust in wasmtime, which neither prices nor caps it."
    ]


async def _hello(scheduler: Scheduler, module: Module) -> float:
    start = time.perf_counter()
    job = await scheduler.submit(module, stdin=INPUT, limits=LIMITS)
    outcome = await job
    took = time.perf_counter() - start
    _check(outcome.stdout)
    return took


def _process() -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=INPUT, stdout=subprocess.PIPE, check=True)
    took = time.perf_counter() - start
    _check(done.stdout)
    return took


def _check(printed: bytes) -> None:
    if not printed.endswith(INPUT.upper()):
        raise RuntimeError(f"the program printed {printed[:100]!r}")


async def _repeated(scheduler: Scheduler, module: Module, export: str) -> float:
    job = await scheduler.submit(module, export, REPEATED, stdin=INPUT, files={"file": b""}, limits=LIMITS)
    outcome = await job
    if outcome.status != "succeeded":
        raise RuntimeError(f"{export}: {outcome.error}")
    return outcome.ran / REPEATED


class Peer:
    """The wasmtime package's public classes: a fresh store, instance and WASI for each run, fuel metered."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        config = wasmtime.Config()
        config.consume_fuel = True
        self._engine = wasmtime.Engine(config)
        self._linker = wasmtime.Linker(self._engine)
        self._linker.define_wasi()
        self._hello = wasmtime.Module.from_file(self._engine, str(HELLO))
        self._calls = wasmtime.Module(self._engine, CALLS.read_text(encoding="utf-8"))
        (directory / "in").write_bytes(INPUT)
        (directory / "tree").mkdir()
        (directory / "tree" / "file").touch()

    def hello(self) -> float:
        """Return the seconds of one run."""
        start = time.perf_counter()
        store = self._store()
        # It ends with the number of its arguments as its exit code: its name alone is 1.
        with suppress(wasmtime.ExitTrap):
            self._start(store, self._hello, "_start")()
        store.close()
        printed = (self._directory / "out").read_bytes()
        took = time.perf_counter() - start
        _check(printed)
        return took

    def repeated(self, export: str) -> float:
        """Return the seconds of one call of the host."""
        call = self._start(self._store(), self._calls, export)
        start = time.perf_counter()
        call(REPEATED)
        return (time.perf_counter() - start) / REPEATED

    def _store(self) -> wasmtime.Store:
        store = wasmtime.Store(self._engine)
        store.set_fuel(10**9)
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["program"]
        wasi.stdin_file = str(self._directory / "in")
        wasi.stdout_file = str(self._directory / "out")
        wasi.preopen_dir(str(self._directory / "tree"), "/")
        store.set_wasi(wasi)
        return store

    def _start(self, store: wasmtime.Store, module: wasmtime.Module, export: str) -> Callable[..., object]:
        function = self._linker.instantiate(store, module).exports(store)[export]
        if not isinstance(function, wasmtime.Func):
            raise TypeError(export)
        return lambda *args: function(store, *args)


if __name__ == "__main__":
    main("wasi", measure, rounds=3)
