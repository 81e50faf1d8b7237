"""How much fuel this core spends in a second, measured before the first job by a guest of our own.

The guest is compiled here, in a process that is not shut in yet and has met nobody else's code. It mixes what compiled
programs do most: it mixes bits, multiplies, loads and stores in a page of its memory, and branches on what it finds.
"""

from __future__ import annotations

import ctypes
from time import thread_time
from typing import TYPE_CHECKING, Final, Literal

from wasmq_worker import capi
from wasmq_worker.buffers import Buffers
from wasmq_worker.engine import PAGE, Engine, check
from wasmq_worker.imports import Imports
from wasmq_worker.mapped import Module
from wasmq_worker.memories import Memories
from wasmq_worker.protocol import Assignment, Map, Prices, Signature

if TYPE_CHECKING:
    from wasmq_worker.instance import Instance

SECONDS: Final = 2e-3
"""For how long it is measured, in seconds of processor time: what others take of the core does not count."""
_QUANTUM: Final = {"native": 100_000, "interpreter": 10_000}
_NOTHING: Final = Signature(0, (), ())
_ENOUGH: Final = 2**62  # fuel that nothing can spend
_SOURCE: Final = b"""
(module
  (memory 1)
  (func (export "spend") (local $bits i32) (local $place i32)
    (local.set $bits (i32.const 0x9e3779b9))
    (loop $again
      (local.set $bits (i32.xor (local.get $bits) (i32.shl (local.get $bits) (i32.const 13))))
      (local.set $bits (i32.xor (local.get $bits) (i32.shr_u (local.get $bits) (i32.const 17))))
      (local.set $bits (i32.xor (local.get $bits) (i32.shl (local.get $bits) (i32.const 5))))
      (local.set $place (i32.and (local.get $bits) (i32.const 0xfffc)))
      (if (i32.lt_s (i32.load (local.get $place)) (local.get $bits))
        (then (i32.store (local.get $place) (i32.mul (local.get $bits) (i32.const 0x01000193))))
        (else (i32.store (local.get $place) (i32.add (local.get $bits) (i32.const 1)))))
      (br $again))))
"""


class _Gauge(Module):
    """The guest, compiled where others are mapped."""

    def _open(self, engine: Engine, path: str) -> int:
        vector = capi.Vector()
        check(capi.wat2wasm(_SOURCE, len(_SOURCE), ctypes.addressof(vector)))
        wasm = capi.take_bytes(vector)
        out = ctypes.c_void_p()
        check(capi.module_new(engine.pointer, wasm, len(wasm), ctypes.addressof(out)))
        return out.value or 0


def measure(name: Literal["native", "interpreter"]) -> float:
    """Return how much fuel an engine spends in a second of this thread's processor time."""
    description = Map(0, "", counted=False, start=False, memory=PAGE, exported_memory=-1, signatures=(_NOTHING,))
    engine = Engine(name, parallel=False)
    gauge = _Gauge(engine, Memories(), description, Imports(0), Prices(0, 0))
    gauge.ready()
    buffers = Buffers()
    instance = gauge.instance(Assignment(0, 0, 0, (), _ENOUGH, PAGE, 60.0, 0, 0, 1.0), 0.0)
    try:
        instance.begin(buffers, _QUANTUM[name], 0.0)
        return _pace(instance)
    finally:
        instance.stop("cancelled", "", 0.0)
        instance.close(buffers)
        gauge.close()
        engine.close()


def _pace(instance: Instance) -> float:
    instance.turn(0.0)  # the first finds everything cold
    spent, started = instance.polled, thread_time()
    while (took := thread_time() - started) < SECONDS:
        instance.turn(0.0)
    return (instance.polled - spent) / took
