"""Artifacts mapped from disk, ready to be instantiated."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from wasmq_worker import capi, sandbox, values
from wasmq_worker.engine import EngineError, check
from wasmq_worker.imports import WAITING
from wasmq_worker.instance import Instance

if TYPE_CHECKING:
    from wasmq_worker.engine import Engine
    from wasmq_worker.imports import Imports
    from wasmq_worker.memories import Memories
    from wasmq_worker.protocol import Assignment, Map, Prices


class Front:
    """What instances of a module are made from, with what it imports; of those that import nothing there is one.

    `held` guests can be held in calls of their host until those are paid for. `pre` is there once it is `ready`; to be
    linked with others, it need not be. Raises `EngineError`.
    """

    def __init__(self, engine: int, module: int, imports: Imports, description: Map, *, held: bool) -> None:
        wasi, host = description.wasi, bool(description.host)
        # The engine insists on this for a module that is linked with a function that may wait.
        self.slow_start = description.start or host or not WAITING.isdisjoint(wasi) or (held and bool(wasi))
        self.pre: int | None = None
        self._module = module
        self.linker: int = capi.linker_new(engine)
        try:
            imports.fill(self.linker, description, held=held)
        except EngineError:
            self.close()
            raise

    def ready(self) -> None:
        """Make instances possible. Raises `EngineError` when an import is not satisfied."""
        if self.pre is None:
            out = ctypes.c_void_p()
            check(capi.linker_instantiate_pre(self.linker, self._module, ctypes.addressof(out)))
            self.pre = out.value

    def close(self) -> None:
        """Free it; no instance made from it may be live."""
        if self.pre is not None:
            capi.instance_pre_delete(self.pre)
        capi.linker_delete(self.linker)


class Module:
    """A mapped artifact. Raises `EngineError` when the file is not such an artifact."""

    def __init__(self, engine: Engine, memories: Memories, description: Map, imports: Imports, prices: Prices) -> None:
        self.description = description
        self.prices = prices
        self.hosted = bool(description.wasi or description.host)
        self.engine = engine
        self.memories = memories if engine.counted else None
        self.calls = [
            (signature.position, values.Layout(signature.params, signature.results))
            for signature in description.signatures
        ]
        self.instances = 1
        self.live = 0
        self.unmapped = False
        self.pointer = self._open(engine, description.path)
        self._imports = imports
        self._held: Front | None = None
        try:
            self._front = Front(engine.pointer, self.pointer, imports, description, held=False)
        except EngineError:
            capi.module_delete(self.pointer)
            raise

    def _open(self, engine: Engine, path: str) -> int:
        """Return the engine's module. Raises `EngineError`."""
        out = ctypes.c_void_p()
        check(capi.module_deserialize_file(engine.pointer, sandbox.artifact_path(path).encode(), ctypes.addressof(out)))
        return out.value or 0

    def ready(self) -> None:
        """Make instances possible. Raises `EngineError` when an import is not satisfied."""
        self._front.ready()

    def front(self, *, held: bool) -> Front:
        """Return what instances are made from, guests that may be held or others. Raises `EngineError`."""
        if not (held and self.hosted):
            return self._front
        if self._held is None:
            self._held = Front(self.engine.pointer, self.pointer, self._imports, self.description, held=True)
        return self._held

    def instance(self, assignment: Assignment, now: float) -> Instance:
        """Return a job of this module, not yet begun."""
        return Instance(assignment, self, now)

    def close(self) -> None:
        """Unmap the artifact; no instance of it may be live."""
        if self._held is not None:
            self._held.close()
        self._front.close()
        capi.module_delete(self.pointer)

    def release(self) -> None:
        """Strike off one that uses it, and unmap the artifact if that was the last of one that is unmapped."""
        self.live -= 1
        if self.unmapped and not self.live:
            self.close()
