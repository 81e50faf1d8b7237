"""The peer: what a Python program does today, with nothing but the `wasmtime` package's public classes.

A module is compiled once in each process, and every call gets a fresh `Store` and `Instance` with a fuel and a memory
limit, closed when it is done, as wasmq's jobs do. What it cannot do is stop a call: there is no time limit, no
cancelling, and no turn for the next one until this one is through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from wasmtime import Config, Engine, Linker, Module, Store

if TYPE_CHECKING:
    from pathlib import Path

    from wasmtime import Func

# What a job of wasmq gets that does not ask. Not imported: that would be charged to the peer's start.
FUEL = 10**9
MEMORY = 64 * 2**20  # bytes


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
        function = cast("Func", self._ready.instantiate(store).exports(store)[self._export])
        value: int = function(store, *args)
        fuel = FUEL - store.get_fuel() if self._metered else 0
        store.close()
        return value, fuel
