"""One call of a host function, from the guest to Python and back, as a coroutine, inline and in a thread.

The peers call Python in their own process, from a guest that holds its thread meanwhile: the `wasmtime` package by its
public classes, and the `extism` package, which is left out where it is not installed. All run the same module.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

from benchmarks import common
from benchmarks.common import Row, each_round, main
from wasmq import Limits, Scheduler, i64

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq import Module

CALLS = 1_000  # that one guest makes, one after the other
GUESTS_AT_ONCE = 200
LIMITS = Limits(fuel=10**11, timeout=600.0, host_calls=CALLS)
GUEST = """
(module
  (import "env" "add" (func $add (param i64 i64) (result i64)))
  (func (export "calls") (result i32) (local $left i32) (local $sum i64)
    (local.set $left (i32.const %d))
    (loop $again
      (local.set $sum (call $add (local.get $sum) (i64.const 1)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.wrap_i64 (local.get $sum))))
"""


def measure(rounds: int) -> tuple[list[Row], list[str]]:
    note = (
        f"A guest makes {CALLS} host calls in a row; what one takes is a mean. wasmq's guest is in another process, "
        "parked meanwhile, and the loop that answers is free for others; a peer's guest holds its thread all along."
    )
    notes = [note]
    peers: dict[str, Callable[[], float]] = {"wasmtime's own classes": _wasmtime()}
    try:
        peers["extism"] = _extism()
    except ImportError:
        notes.append("extism is not installed, so it was not measured: pip install extism")
    ways = ("coroutine", "inline", "thread")
    alone: dict[str, list[float]] = {way: [] for way in ways}
    together: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    for _ in each_round("host_call", rounds):
        for name, call in peers.items():
            theirs[name].append(call())
        for way in ways:
            one, many = asyncio.run(_wasmq(way))
            alone[way].append(one)
            if way == "coroutine":
                together.append(many)
    rows = [
        Row(
            measured=f"a host call, {'a plain function ' * (way != 'coroutine')}{_AS[way]}",
            kind="seconds",
            ours=alone[way],
            peer=theirs[name],
            peer_is=name,
        )
        for way in ways
        for name in (peers if way == "coroutine" else [list(peers)[-1]])
    ]
    rows.append(
        Row(
            measured=f"host calls of {GUESTS_AT_ONCE} guests at once, a coroutine",
            kind="rate",
            ours=together,
            peer=[1 / seconds for seconds in theirs["wasmtime's own classes"]],
            peer_is="wasmtime's own classes, one after the other",
        )
    )
    return rows, notes


_AS = {"coroutine": "a coroutine", "inline": "on the loop", "thread": "in a thread"}


async def _wasmq(way: str) -> tuple[float, float]:
    """Return the seconds that a host call takes alone, and the calls a second of many guests together."""
    async with Scheduler(config=common.config(), workers=1) as scheduler:

        def add(left: i64, right: i64) -> i64:
            return left + right

        async def add_later(left: i64, right: i64) -> i64:
            return left + right

        function = add_later if way == "coroutine" else add
        scheduler.host_function("env", "add", tenants="*", inline=way == "inline")(function)
        module = await scheduler.load(GUEST % CALLS)
        few = await scheduler.load(GUEST % (CALLS // GUESTS_AT_ONCE))
        await _calls(scheduler, few, CALLS // GUESTS_AT_ONCE)
        start = time.perf_counter()
        await _calls(scheduler, module, CALLS)
        alone = (time.perf_counter() - start) / CALLS
        start = time.perf_counter()
        calls = [_calls(scheduler, few, CALLS // GUESTS_AT_ONCE) for _ in range(4 * GUESTS_AT_ONCE)]
        await asyncio.gather(*calls)
        return alone, 4 * CALLS / (time.perf_counter() - start)


async def _calls(scheduler: Scheduler, module: Module, calls: int) -> None:
    _check((await scheduler.run(module, "calls", limits=LIMITS)).value, calls)


def _wasmtime() -> Callable[[], float]:
    """Return what measures a host call with the wasmtime package, metered as a job is."""
    from wasmtime import Config, Engine, FuncType, Linker, Module, Store, ValType

    settings = Config()
    settings.consume_fuel = True
    engine = Engine(settings)
    linker = Linker(engine)
    wide = ValType.i64
    linker.define_func("env", "add", FuncType([wide(), wide()], [wide()]), lambda left, right: left + right)
    module = Module(engine, GUEST % CALLS)

    def call() -> float:
        store = Store(engine)
        store.set_fuel(10**9)
        function = cast("Any", linker.instantiate(store, module).exports(store)["calls"])
        start = time.perf_counter()
        _check(function(store), CALLS)
        return (time.perf_counter() - start) / CALLS

    return call


def _extism() -> Callable[[], float]:
    """Return what measures a host call with extism. Raises `ImportError` where it is not installed."""
    import extism  # type: ignore[import-not-found,unused-ignore]
    from wasmtime import wat2wasm

    wide = extism.ValType.I64

    @extism.host_fn(name="add", namespace="env", signature=([wide, wide], [wide]))
    def add(_plugin: Any, given: Any, results: Any) -> None:
        results[0].value = given[0].value + given[1].value

    # An export of extism returns 0 when all went well.
    source = GUEST.replace(
        "(i32.wrap_i64 (local.get $sum))", "(i32.wrap_i64 (i64.sub (local.get $sum) (i64.const %d)))"
    )
    plugin = extism.Plugin(bytes(wat2wasm(source % (CALLS, CALLS))), functions=[add])

    def call() -> float:
        start = time.perf_counter()
        plugin.call("calls", b"")
        return (time.perf_counter() - start) / CALLS

    return call


def _check(sum_: object, calls: int) -> None:
    if sum_ != calls:
        raise RuntimeError(f"{sum_} came back from {calls} calls")


if __name__ == "__main__":
    main("host_call", measure, rounds=5)
