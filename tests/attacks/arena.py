"""Where attacks take place: beside a victim whose jobs must go on as if nothing were there."""

from __future__ import annotations

import importlib
import math
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

import wasmq

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from wasmq.errors import WasmqError

HERE = Path(__file__).parent
LIMITS = wasmq.Limits(fuel=20_000_000, memory="16MiB", timeout=60.0, output="64KiB", files="1MiB")
"""What an attacker's job may spend."""
HANGING = wasmq.Limits(fuel=10**12, memory="16MiB", timeout=0.5, output="64KiB", files="1MiB")
"""The same with so much fuel that only the clock ends it."""
_VICTIM = """(module (memory 1) (func (export "sum") (param $n i32) (result i32) (local $s i32)
  (loop $again
    (local.set $s (i32.add (local.get $s) (local.get $n)))
    (i32.store (i32.const 8) (local.get $s))
    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
  (i32.load (i32.const 8))))"""
_AT_LEAST = 20  # jobs of the victim that come through during one attack


def attacks(folder: str) -> list[str]:
    """Return the names of the attacks of a kind."""
    return sorted(path.stem for path in (HERE / folder).glob("*.py") if path.stem != "__init__")


def attack(folder: str, name: str) -> ModuleType:
    """Return one: a module with a docstring that says what it tries, and a coroutine function `attack`, or `forged`."""
    return importlib.import_module(f"{folder}.{name}")


class Victim:
    """Another tenant, which asks for the same thing again and again. `seconds` are what each answer took.

    Unless it is `undisturbed`, its jobs may have been started more than once.
    """

    def __init__(self, scheduler: wasmq.Scheduler, *, undisturbed: bool = True) -> None:
        self._scheduler = scheduler
        self._undisturbed = undisturbed
        self.seconds: list[float] = []
        self._enough = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Ask until cancelled; every answer is the same, to the unit of fuel, and at the first attempt."""
        module = await self._scheduler.load(_VICTIM)
        expected = await self._ask(module)
        task_status.started()
        while True:
            started = time.perf_counter()
            assert await self._ask(module) == expected
            self.seconds.append(time.perf_counter() - started)
            if len(self.seconds) == _AT_LEAST:
                self._enough.set()

    async def came_through(self) -> None:
        """Wait until it has had enough answers."""
        await self._enough.wait()

    async def _ask(self, module: wasmq.Module) -> tuple[Any, ...]:
        job = await self._scheduler.submit(module, "sum", 1000, tenant="victim")
        outcome = await job
        attempts = outcome.attempts if self._undisturbed else None
        return outcome.status, outcome.value, outcome.fuel_used, outcome.memory_peak, attempts, outcome.error


@asynccontextmanager
async def beside_a_victim(scheduler: wasmq.Scheduler, *, undisturbed: bool = True) -> AsyncIterator[Victim]:
    """Let a victim ask while the block runs, and until it has had enough answers."""
    victim = Victim(scheduler, undisturbed=undisturbed)
    async with anyio.create_task_group() as tasks:
        await tasks.start(victim.run)
        yield victim
        with anyio.fail_after(60):
            await victim.came_through()
        tasks.cancel_scope.cancel()


async def run(
    scheduler: wasmq.Scheduler,
    source: str | bytes,
    export: str | None = None,
    *args: Any,
    limits: wasmq.Limits = LIMITS,
    **options: Any,
) -> wasmq.Outcome:
    """Return what becomes of one job of the attacker, within its limits and in one line of words."""
    module = await scheduler.load(source)
    outcome = await (await scheduler.submit(module, export, *args, limits=limits, tenant="attacker", **options))
    assert outcome.fuel_used <= (limits.fuel or math.inf)
    assert outcome.memory_peak <= 16 * 2**20
    assert outcome.attempts == 1
    assert len(outcome.stdout) + len(outcome.stderr) <= 64 * 2**10
    if outcome.error is not None:
        one_line(outcome.error)
    return outcome


async def refused(scheduler: wasmq.Scheduler, source: str | bytes, kind: type[WasmqError]) -> str:
    """Return why a module is refused, in one line of words."""
    try:
        await scheduler.load(source)
    except kind as error:
        return one_line(str(error))
    raise AssertionError("the module was not refused")


def one_line(text: str) -> str:
    """Return a text that is one printable line of a sane length."""
    assert text.isprintable(), text
    assert len(text) < 2_000
    return text


def opening(path: str) -> str:
    """Return a program that opens a path of its first directory, and exits with 1 if it cannot."""
    return f"""(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 4)
  (data (i32.const 1024) "{path}")
  (func (export "_start")
    (call $proc_exit (i32.ne (i32.const 0)
      (call $path_open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const {len(path)}) (i32.const 0)
        (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 512))))))"""


# Binary modules, where the text format is too kind.


def leb(number: int) -> bytes:
    """Return an unsigned number as LEB128."""
    out = bytearray()
    while True:
        low = number & 0x7F
        number >>= 7
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def section(number: int, body: bytes) -> bytes:
    """Return one section."""
    return bytes([number]) + leb(len(body)) + body


def binary(*sections: bytes) -> bytes:
    """Return a module of these sections."""
    return b"\0asm\1\0\0\0" + b"".join(sections)


def vector(items: list[bytes]) -> bytes:
    """Return items with their number before them."""
    return leb(len(items)) + b"".join(items)


def name(text: bytes) -> bytes:
    """Return a name."""
    return leb(len(text)) + text
