"""One job that runs a function of a component: the same life as `wasmq_worker.instance.Instance`, in other calls.

A component is always instantiated in slices, because instantiation runs code of its own. Its arguments come as one
piece of MessagePack, and its result goes back as one: see `wasmq_worker.components.values` for their form.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec

from wasmq_worker import capi, sandbox
from wasmq_worker.buffers import ERROR, EXTERN, INSTANCE, VALUES, Buffers
from wasmq_worker.callbacks import stage
from wasmq_worker.components import values
from wasmq_worker.components.linker import Linker
from wasmq_worker.components.sections import INSTANCES
from wasmq_worker.components.trap import take_failure
from wasmq_worker.engine import COUNTED_MEMORIES, TABLE_ELEMENTS, EngineError, check
from wasmq_worker.instance import Instance, Step
from wasmq_worker.mapped import Module
from wasmq_worker.traps import OUT_OF_FUEL

if TYPE_CHECKING:
    from wasmq_worker.engine import Engine
    from wasmq_worker.memories import Memories
    from wasmq_worker.protocol import Assignment, ComponentFunction, ComponentParts, Ended, Map, Prices

TABLES: Final = 200
"""Tables that one component may have, over all of its core instances."""
MAX_RESULT: Final = 16 * 2**20
"""Bytes that a result may have in a frame."""
_u64 = struct.Struct("<Q")


class Shape:
    """A function's parameters and result; made once per exported function."""

    __slots__ = ("args", "params", "result", "results")

    def __init__(self, function: ComponentFunction) -> None:
        self.args = [values.codec(type_, False) for type_ in function.params]
        self.result = [] if function.result is None else [values.codec(function.result, False)]
        self.params = len(self.args)
        self.results = len(self.result)


class Component(Module):
    """A mapped component. Raises `EngineError` when the file is not such an artifact."""

    def __init__(
        self, engine: Engine, memories: Memories, description: Map, parts: ComponentParts, prices: Prices
    ) -> None:
        self.description = description
        self.parts = parts
        self.prices = prices
        self.hosted = bool(parts.imports)
        self.engine = engine
        self.memories = memories if engine.counted else None
        self.instances = INSTANCES
        self.live = 0
        self.unmapped = False
        out = ctypes.c_void_p()
        path = sandbox.artifact_path(description.path).encode()
        check(capi.component_deserialize_file(engine.pointer, path, ctypes.addressof(out)))
        self.pointer = out.value or 0
        self._indices: list[int] = []
        self._linkers: dict[bool, Linker] = {}
        try:
            self.calls: list[Any] = [(self._index(call), Shape(call)) for call in parts.calls]
            self.linker(held=False)
        except BaseException:
            self.close()
            raise

    def ready(self) -> None:
        """See `Module`: a component's imports are looked at each time."""

    def linker(self, *, held: bool) -> int:
        """Return what offers its imports, to guests that may be held in them or to others. Raises `EngineError`."""
        linker = self._linkers.get(held)
        if linker is None:
            parts = self.parts
            linker = self._linkers[held] = Linker(self.engine.pointer, parts.imports, parts.resources, held=held)
        return linker.pointer

    def instance(self, assignment: Assignment, now: float) -> ComponentInstance:
        """Return a job of this component, not yet begun."""
        return ComponentInstance(assignment, self, now)

    def close(self) -> None:
        """Unmap the artifact; no instance of it may be live."""
        for index in self._indices:
            capi.export_index_delete(index)
        for linker in self._linkers.values():
            linker.close()
        capi.component_delete(self.pointer)

    def _index(self, call: ComponentFunction) -> int:
        outer = self._look_up(None, call.interface) if call.interface else None
        return self._look_up(outer, call.name)

    def _look_up(self, outer: int | None, name: str) -> int:
        text = name.encode()
        index: int | None = capi.component_export_index(self.pointer, outer, text, len(text))
        if not index:
            raise EngineError(f"the artifact has no export {name!r}")
        self._indices.append(index)
        return index


class ComponentInstance(Instance):
    """One job being run: see `Instance`."""

    __slots__ = ("_written",)

    module: Component
    _layout: Any

    def __init__(self, assignment: Assignment, module: Component, now: float) -> None:
        super().__init__(assignment, module, now)
        self._written = False

    def _limit(self, store: int) -> None:
        # What is not counted has one memory that can grow, and it is at least as large as the fixed ones are together.
        cap = -1 if self._account is not None else self.assignment.memory - self.module.parts.fixed
        capi.store_limiter(store, cap, TABLE_ELEMENTS, INSTANCES, TABLES, COUNTED_MEMORIES)

    def _instantiate(self, now: float) -> Ended | None:
        module, context, address = self.module, self._context, self._address
        self._begin_slice()
        linker = module.linker(held=self.meter is not None)
        self._future = capi.component_instantiate_async(
            linker, context, module.pointer, address + INSTANCE, address + ERROR
        )
        return None

    def finish(self, now: float) -> Ended:
        """Return the outcome of a call that has come to its end."""
        capi.future_delete(self._future)
        self._future = None
        (error,) = _u64.unpack_from(self._buffer, ERROR)
        if error:
            return self._failed(0, error, now)
        layout = self._layout
        try:
            found = values.read_all(layout.result, self._address + VALUES)
        except MemoryError:
            return self._ended("trapped", now, error="trapped: the result does not fit this machine", trap="host")
        packed = msgspec.msgpack.encode(found[0] if found else None)
        if len(packed) > MAX_RESULT:
            error_line = f"trapped: the result has {len(packed)} bytes, the most is {MAX_RESULT}"
            return self._ended("trapped", now, error=error_line, trap="host")
        return self._ended("succeeded", now, values=(packed,))

    def close(self, buffers: Buffers) -> None:
        """Give back everything the instance holds."""
        if self._written:
            layout = self._layout
            values.free_all(layout.results + layout.params, self._address + VALUES)
        if self.guest is not None:
            stage.guest = self.guest
        super().close(buffers)

    def _advance(self) -> None:
        """Set up the call that the job asks for, in an instance that is there."""
        self._step = Step.CALLING
        layout, address = self._layout, self._address
        count = layout.results + layout.params
        self._buffer[VALUES : VALUES + count * values.SIZE] = bytes(count * values.SIZE)
        self._written = True
        args_at = address + VALUES + layout.results * values.SIZE
        if layout.params:
            (packed,) = self.assignment.args
            values.write_all(layout.args, msgspec.msgpack.decode(packed), args_at)  # type: ignore[arg-type]
        if not capi.component_function(address + INSTANCE, self._context, self._position, address + EXTERN):
            raise EngineError("an instance lacks what its component exports")
        self._future = capi.component_call_async(
            address + EXTERN,
            self._context,
            args_at,
            layout.params,
            address + VALUES,
            layout.results,
            address + ERROR,
        )

    def _failed(self, trap: int, error: int | None, now: float) -> Ended:
        guest = self.guest
        code, message, backtrace = take_failure(error or 0)
        if guest is not None and guest.failure:
            return self._ended("trapped", now, error=f"trapped: {guest.failure}", trap="host")
        if guest is not None and guest.ended:
            return self._exited(guest.exit_code, now)
        # What can be refuelled is never refused for its fuel: it has trapped for something else.
        if code == OUT_OF_FUEL or (guest is not None and self.meter is None and not self._fuel_left()):
            return self._ended("out_of_fuel", now, error=f"out of fuel: spent all {self.assignment.fuel} units")
        if self._refused():
            return self._ended("out_of_memory", now, error=self._over_memory(message), trap=code, backtrace=backtrace)
        return self._ended("trapped", now, error=f"trapped: {message}", trap=code, backtrace=backtrace)

    def _fuel_left(self) -> int:
        return self.assignment.fuel - self._spent()

    def _refused(self) -> bool:
        return self._account is not None and self._account.refused

    def _memory(self) -> int:
        """Return the size of the memories if growth is counted, else what they began with: it cannot be asked for."""
        if self._account is not None:
            return self._account.used
        return self.module.description.memory if self._store is not None else 0
