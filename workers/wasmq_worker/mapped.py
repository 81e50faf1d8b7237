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


class Module:
    """A mapped artifact. Raises `EngineError` when the file is not such an artifact.

    `pre` is what its instances are made from once it is `ready`; to be linked with others, it need not be.
    """

    def __init__(self, engine: Engine, memories: Memories, description: Map, imports: Imports, prices: Prices) -> None:
        self.description = description
        self.prices = prices
        self.hosted = bool(description.wasi or description.host)
        # The engine insists on this for a module that is linked with a function that may wait.
        self.slow_start = description.start or bool(description.host) or not WAITING.isdisjoint(description.wasi)
        self.engine = engine
        self.memories = memories if engine.counted else None
        self.calls = [
            (signature.position, values.Layout(signature.params, signature.results))
            for signature in description.signatures
        ]
        self.instances = 1
        self.live = 0
        self.unmapped = False
        out = ctypes.c_void_p()
        path = sandbox.artifact_path(description.path).encode()
        check(capi.module_deserialize_file(engine.pointer, path, ctypes.addressof(out)))
        self.pointer = out.value
        self.linker = capi.linker_new(engine.pointer)
        self.pre: int | None = None
        try:
            imports.fill(self.linker, description)
        except EngineError:
            self.close()
            raise

    def ready(self) -> None:
        """Make instances possible. Raises `EngineError` when an import is not satisfied."""
        if self.pre is None:
            out = ctypes.c_void_p()
            check(capi.linker_instantiate_pre(self.linker, self.pointer, ctypes.addressof(out)))
            self.pre = out.value

    def instance(self, assignment: Assignment, now: float) -> Instance:
        """Return a job of this module, not yet begun."""
        return Instance(assignment, self, now)

    def close(self) -> None:
        """Unmap the artifact; no instance of it may be live."""
        if self.pre is not None:
            capi.instance_pre_delete(self.pre)
        capi.linker_delete(self.linker)
        capi.module_delete(self.pointer)

    def release(self) -> None:
        """Strike off one that uses it, and unmap the artifact if that was the last of one that is unmapped."""
        self.live -= 1
        if self.unmapped and not self.live:
            self.close()
