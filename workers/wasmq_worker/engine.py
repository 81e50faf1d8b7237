"""wasmtime set up the way we need it: metered, deterministic, native or interpreting, pooled or counted.

Two engines run the same settings and differ in who owns the linear memories. The *pooled* one takes them from
wasmtime's pool and maps a module's data copy-on-write, which makes a fresh instance cost microseconds whatever its
size. The *counted* one takes them from `wasmq_worker.memories`, which sees each growth: that alone makes the sum over
several memories exact, and tells a guest that died of a refused growth from one that died of something else.
"""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING, Final, Literal

from wasmq_worker import capi
from wasmq_worker.protocol import ENGINE_REVISION

if TYPE_CHECKING:
    from wasmq_worker.memories import Memories

PAGE: Final = 65_536
RESERVATION: Final = 4 * 2**30
"""Bytes of address space for one linear memory: with all 4 GiB reserved, 32-bit accesses need no bounds checks."""
GUARD: Final = 32 * 2**20
WASM_STACK: Final = 512 * 2**10
"""Bytes of stack for a guest; deeper recursion is a trap."""
FIBRE_STACK: Final = 2 * 2**20
"""Bytes of address space for an instance's stack: the guest's and what the engine itself needs on top."""
TABLE_ELEMENTS: Final = 100_000
"""Elements that one table may grow to."""
TABLES: Final = 8
"""Tables that one instance may have."""
LINKED_TABLES: Final = 32
"""Tables that all instances of a linked job may have together."""
COUNTED_SLICE: Final = 5_000
"""Fuel that a counted instance spends before the clock is looked at: each of its growths costs microseconds, not one
unit's nanosecond, and only between slices can it be stopped."""
SLOW_SLICE: Final = 0.5e-3
"""Seconds: a counted instance whose slice took longer gets shorter ones, of `LEAST_SLICE` fuel at the least."""
QUICK_SLICE: Final = 30e-6
"""Seconds: one whose slice took less gets longer ones again, up to `COUNTED_SLICE`."""
LEAST_SLICE: Final = 100
COUNTED_MEMORIES: Final = 100
"""Memories that one counted instance may have."""
INSTANCE_SIZE: Final = 8 * 2**20
"""Bytes of the engine's own record of one instance (globals, function references)."""
WARM_SLOTS: Final = 200

ENGINE_VERSION: Final = f"wasmtime {capi.VERSION} r{ENGINE_REVISION}"

_BACKTRACE: Final = re.compile(r"(\d+:\s+)?0x[0-9a-f]+ - |error while executing at wasm backtrace:|note: ")
_TARGETS: Final = {"native": None, "interpreter": b"pulley64"}
# On where the engine holds a proposal stable; threads off, because shared memory would let a job block its worker.
_PROPOSALS: Final = {
    "wasm_bulk_memory": True,
    "wasm_exceptions": True,
    "wasm_function_references": True,
    "wasm_gc": True,
    "wasm_memory64": True,
    "wasm_multi_memory": True,
    "wasm_multi_value": True,
    "wasm_reference_types": True,
    "wasm_relaxed_simd": True,
    "wasm_simd": True,
    "wasm_tail_call": True,
    "wasm_threads": False,
}


class EngineError(Exception):
    """Raised when the engine refuses something; the message is the library's, on one line."""


def check(error: int | None) -> None:
    """Raise `EngineError` for a non-null error pointer, and free it."""
    if error:
        raise EngineError(one_line(capi.take_error(error)))


def one_line(message: str) -> str:
    """Return the library's "what: / Caused by: 0: why" text as one line, the causes after semicolons.

    A backtrace among them, which comes without names, is left out.
    """
    parts = []
    for raw in message.splitlines():
        line = raw.strip()
        head, colon, rest = line.partition(":")
        if colon and head.isdigit():
            line = rest.strip()
        if line and line != "Caused by:" and not _BACKTRACE.match(line):
            parts.append(line)
    return "; ".join(parts)


class Engine:
    """One configured engine. `memories` makes it a counted one, else `instances` is the size of its pool.

    Without either it only compiles: then `counted` says for which of the two, and `parallel` whether on all cores, by
    threads that stay.
    """

    def __init__(
        self,
        name: Literal["native", "interpreter"],
        *,
        instances: int | None = None,
        memories: Memories | None = None,
        counted: bool = False,
        parallel: bool = True,
    ) -> None:
        self.counted = counted or memories is not None
        self._memories = memories  # its callbacks must outlive the engine
        config = capi.config_new()
        if (target := _TARGETS[name]) is not None:
            check(capi.config_target(config, target))
        capi.config_flag["consume_fuel"](config, True)
        # The same call must give the same bits on every processor and on both engines.
        capi.config_flag["cranelift_nan_canonicalization"](config, True)
        capi.config_flag["wasm_relaxed_simd_deterministic"](config, True)
        capi.config_flag["parallel_compilation"](config, parallel)
        for proposal, on in _PROPOSALS.items():
            capi.config_flag[proposal](config, on)
        # Without it, the engine loses count of handles when a component lends several to one host function.
        capi.config_flag["concurrency_support"](config, False)
        capi.config_size["memory_reservation"](config, RESERVATION)
        capi.config_size["memory_guard_size"](config, GUARD)
        capi.config_size["max_wasm_stack"](config, WASM_STACK)
        capi.config_size["async_stack_size"](config, FIBRE_STACK)
        if self.counted:
            # Copy-on-write data needs memories that wasmtime mapped itself.
            capi.config_flag["memory_init_cow"](config, False)
        if memories is not None:
            capi.config_memory_creator(config, ctypes.addressof(memories.creator))
        elif instances is not None:
            self._pool(config, instances)
        self.pointer: int = capi.engine_new(config)

    def close(self) -> None:
        """Free it; nothing made from it may be left."""
        capi.engine_delete(self.pointer)

    @staticmethod
    def _pool(config: int, instances: int) -> None:
        pool = capi.pooling_new()
        sizes = {
            "total_core_instances": instances,
            "total_memories": instances,
            "total_stacks": instances,
            "total_tables": instances * TABLES,
            "total_gc_heaps": 1,
            "max_memories_per_module": 1,
            "max_tables_per_module": TABLES,
            "max_core_instance_size": INSTANCE_SIZE,
            "max_memory_size": RESERVATION,
            "max_unused_warm_slots": min(instances, WARM_SLOTS),
            "table_elements": TABLE_ELEMENTS,
        }
        for name, size in sizes.items():
            capi.pooling_size[name](pool, size)
        capi.config_pooling(config, pool)
        capi.pooling_delete(pool)
