"""Untrusted Python: a call of a component that `componentize-py` made of a Python file, from submit to result.

The component is built and compiled once and then kept in the user's cache directory; what is measured is a job of it,
with an interpreter of its own. The peers run the same function: a fresh Python process, and the wasmtime package's
public classes in this process, a fresh store and instance for each call.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import wasmtime
from wasmtime import component as wasm

from benchmarks import common
from benchmarks.common import GUESTS, Row, each_round, main, quantile
from wasmq import Config, Limits, Module, Ok, Scheduler
from wasmq.config import ModulesConfig

SOURCE: Final = GUESTS / "components" / "python"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wasmq-benchmarks"
WHO: Final = {"name": "Ann", "age": 41, "emails": ["ann@example.org"]}
ANSWER: Final = "Hello Ann, 41, known as ann@example.org"
SCRIPT: Final = """import json, sys
who = json.load(sys.stdin)
print(f"Hello {who['name']}, {who['age']}, known as {' and '.join(who['emails']) or 'nobody'}", end="")"""
ALONE, PROCESSES, IN_PROCESS, AT_ONCE = 100, 20, 20, 200
WORKERS: Final = 2
LIMITS: Final = Limits(fuel=10**9, timeout=60.0)


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    built = _built()
    rows, fuel = asyncio.run(_measure(rounds, built, Peer(built)))
    return rows, [f"The component has {built.stat().st_size / 2**20:.1f} MiB; the call spends {fuel} fuel."]


async def _measure(rounds: int, built: Path, peer: Peer) -> tuple[list[Row], int]:
    ours: list[float] = []
    processes: list[float] = []
    in_process: list[float] = []
    together: list[float] = []
    modules = ModulesConfig(directory=str(CACHE / "modules"), compile_timeout=3_600.0)
    config: Config = msgspec.structs.replace(common.config(), modules=modules)
    async with Scheduler(config=config, workers=WORKERS) as scheduler:
        module = await scheduler.load(built)
        fuel = (await scheduler.run(module, "greet", WHO, limits=LIMITS)).fuel_used
        for _ in each_round("component", rounds):
            ours.append(quantile([await _job(scheduler, module) for _ in range(ALONE)], 0.5))
            processes.append(quantile([_process() for _ in range(PROCESSES)], 0.5))
            in_process.append(quantile([peer.call() for _ in range(IN_PROCESS)], 0.5))
            start = time.perf_counter()
            async for outcome in scheduler.map(module, "greet", [(WHO,)] * AT_ONCE, limits=LIMITS):
                _check(outcome.value)
            together.append(AT_ONCE / (time.perf_counter() - start))
    said = "a Python function as a job, submit to result, p50"
    return [
        Row(measured=said, kind="seconds", ours=ours, peer=processes, peer_is="`subprocess`, `python -c`"),
        Row(
            measured=said,
            kind="seconds",
            ours=ours,
            peer=in_process,
            peer_is="wasmtime's public classes, in process",
        ),
        Row(measured=f"the same by `map`, {WORKERS} workers", kind="rate", ours=together),
    ], fuel


async def _job(scheduler: Scheduler, module: Module) -> float:
    start = time.perf_counter()
    outcome = await scheduler.run(module, "greet", WHO, limits=LIMITS)
    took = time.perf_counter() - start
    _check(outcome.value)
    return took


def _check(value: object) -> None:
    if value != Ok(ANSWER):
        raise RuntimeError(f"the component answered {value!r}")


def _process() -> float:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(WHO), stdout=subprocess.PIPE, text=True, check=True
    )
    took = time.perf_counter() - start
    _check(Ok(done.stdout))
    return took


class Peer:
    """The wasmtime package's public classes with their own WASI 0.2, fuel metered, the compiled component kept."""

    def __init__(self, built: Path) -> None:
        config = wasmtime.Config()
        config.consume_fuel = True
        config.cache = True
        self._engine = wasmtime.Engine(config)
        self._component = wasm.Component.from_file(self._engine, str(built))
        self._linker = wasm.Linker(self._engine)
        self._linker.add_wasip2()

    def call(self) -> float:
        """Return the seconds of one call with an instance of its own."""
        start = time.perf_counter()
        store = wasmtime.Store(self._engine)
        store.set_fuel(10**9)
        store.set_wasi(wasmtime.WasiConfig())
        instance = self._linker.instantiate(store, self._component)
        function = instance.get_func(store, "greet")
        if function is None:
            raise RuntimeError("the component exports no greet")
        who = wasm.Record()
        for name, value in WHO.items():
            setattr(who, name, value)
        answer = function(store, who)
        store.close()
        took = time.perf_counter() - start
        _check(Ok(getattr(answer, "payload", answer)))
        return took


def _built() -> Path:
    """Return the component, built the first time for these sources."""
    sources = [SOURCE / name for name in ("app.py", "example.wit")]
    digest = hashlib.sha256(b"".join([path.read_bytes() for path in sources])).hexdigest()[:16]
    built = CACHE / f"people-{digest}.wasm"
    if not built.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = built.with_suffix(".new")
        program = str(Path(sys.executable).with_name("componentize-py"))
        command = [program, "-d", str(sources[1]), "-w", "people", "componentize", "-p", str(SOURCE), "app"]
        subprocess.run([*command, "-o", str(made)], check=True, stdout=subprocess.DEVNULL, cwd=SOURCE)
        made.rename(built)
    return built


if __name__ == "__main__":
    main("component", measure, rounds=3)
