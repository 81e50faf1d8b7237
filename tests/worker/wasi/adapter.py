"""Runs a WASI program on the wasmtime package's public classes, with our functions and a clock that we move."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wasmtime

from wasmq_worker.wasi import FUNCTIONS, Exit, Sleep, World

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = Path(__file__).parents[3] / "workers" / "guests" / "wasi"
MASKS = {"i32": (1 << 32) - 1, "i64": (1 << 64) - 1}
TYPES = {"i32": wasmtime.ValType.i32, "i64": wasmtime.ValType.i64}


class Spent(Exception):
    """The program has moved more bytes than it was given."""


@dataclass
class Clock:
    """Two clocks in nanoseconds that stand still unless somebody moves them."""

    monotonic: int = 5_000_000_000
    wall: int = 1_700_000_000_000_000_000
    sleeps: list[int] = field(default_factory=list)

    def pass_until(self, instant: int) -> None:
        """Let the time pass until a monotonic instant."""
        passed = instant - self.monotonic
        self.sleeps.append(passed)
        self.monotonic += passed
        self.wall += passed


def make_world(clock: Clock | None = None, **settings: Any) -> World:
    """Return a world with what is given, and little otherwise."""
    clock = clock or Clock()
    defaults: dict[str, Any] = {
        "argv": ["program"],
        "env": {},
        "stdin": b"",
        "files": {},
        "output_cap": 1 << 16,
        "quota": 1 << 20,
        "max_entries": 100,
        "deterministic": False,
        "monotonic": lambda: clock.monotonic,
        "wall": lambda: clock.wall,
    }
    return World(**(defaults | settings))


def memory_of(caller: wasmtime.Caller) -> memoryview:
    """Return the guest's linear memory as the functions want it."""
    memory = caller["memory"]
    assert isinstance(memory, wasmtime.Memory)
    address = ctypes.addressof(memory.data_ptr(caller).contents)
    return memoryview((ctypes.c_ubyte * memory.data_len(caller)).from_address(address)).cast("B")


def run(program: Path, world: World, clock: Clock | None = None, *, most: int = 1 << 40) -> int:
    """Run a program to its end and return its exit status; raises `Spent` once it has moved `most` bytes."""
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    linker = wasmtime.Linker(engine)
    for name, (params, results, function) in FUNCTIONS.items():
        kind = wasmtime.FuncType([TYPES[each]() for each in params], [TYPES[each]() for each in results])
        host = host_function(world, clock, params, function, most)
        linker.define_func("wasi_snapshot_preview1", name, kind, host, access_caller=True)
    start = linker.instantiate(store, wasmtime.Module.from_file(engine, str(program))).exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    try:
        start(store)
    except Exit as end:
        return end.code
    return 0


def host_function(
    world: World, clock: Clock | None, params: tuple[str, ...], function: Callable[..., int], most: int
) -> Callable[..., int]:
    """Return one of the functions as a linker takes it, waiting whenever it would sleep."""

    def call(caller: wasmtime.Caller, *args: int) -> int:
        numbers = [arg & MASKS[kind] for arg, kind in zip(args, params, strict=True)]
        while True:
            if world.moved > most:
                raise Spent
            try:
                return function(world, memory_of(caller), *numbers)
            except Sleep as sleep:
                until = sleep.until
            assert clock is not None
            assert until is not None
            clock.pass_until(until)

    return call
