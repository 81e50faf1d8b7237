"""Modules that belong together: several instances in one store, each given what earlier ones export.

They are made in order. Each is initialised before the next one is made, for that one's start function may lean on it.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Final

import msgspec

from wasmq_worker import capi
from wasmq_worker.buffers import ERROR, EXTERN, INSTANCE, NAME, NAME_LENGTH, TRAP
from wasmq_worker.instance import Instance, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmq_worker.mapped import Module
    from wasmq_worker.protocol import Assignment, Ended, Link, Part

_HANDLE: Final = 16  # bytes of a wasmtime_instance_t
_u64 = struct.Struct("<Q")

_export_nth = capi.export_nth
_define = capi.linker_define_extern


class Missing(Exception):
    """Raised with the number of an artifact that is not there to be linked."""

    def __init__(self, artifact: int) -> None:
        super().__init__(artifact)
        self.artifact = artifact


class _Part:
    __slots__ = ("module", "name", "wires")

    def __init__(self, part: Part, module: Module) -> None:
        self.module = module
        self.name = part.name
        self.wires = [
            (wire.part * _HANDLE, wire.position, wire.module.encode(), wire.name.encode()) for wire in part.wires
        ]


class Linked:
    """Artifacts of the counted engine that are instantiated together; as a program, what the last of them is.

    It keeps them mapped. Raises `Missing`.
    """

    def __init__(self, frame: Link, artifacts: Mapping[int, Module]) -> None:
        self.parts: list[_Part] = []
        for part in frame.parts:
            module = artifacts.get(part.artifact)
            if module is None:
                raise Missing(part.artifact)
            self.parts.append(_Part(part, module))
        modules = [part.module for part in self.parts]
        for module in modules:
            module.live += 1
        main = modules[-1]
        self.description = msgspec.structs.replace(
            main.description, memory=sum([module.description.memory for module in modules])
        )
        self.prices = main.prices
        self.hosted = any(module.hosted for module in modules)
        self._initialising = any(module.description.initialise >= 0 for module in modules[:-1])
        self.engine = main.engine
        self.memories = main.memories
        self.calls = main.calls
        self.instances = len(modules)
        self.live = 0
        self.unmapped = False

    def slow_start(self, *, held: bool) -> bool:
        """Return whether instances are made in slices.

        Once one may run code or wait while it is made, all that follow must be made in the same way.
        """
        return self._initialising or any(part.module.front(held=held).slow_start for part in self.parts)

    def instance(self, assignment: Assignment, now: float) -> Instance:
        """Return a job of this program, not yet begun."""
        return LinkedInstance(assignment, self, now)

    def close(self) -> None:
        """Let go of the artifacts; no instance may be live."""
        for part in self.parts:
            part.module.release()

    def release(self) -> None:
        """Strike off an instance, and let go of the artifacts if it was the last of a program that is unmapped."""
        self.live -= 1
        if self.unmapped and not self.live:
            self.close()


class LinkedInstance(Instance):
    """One job of a linked program."""

    __slots__ = ("_handles", "_handles_at", "_linker", "_part", "_parts", "_slow")

    def __init__(self, assignment: Assignment, program: Linked, now: float) -> None:
        super().__init__(assignment, program, now)
        self._parts = program.parts
        self._part = 0
        self._slow = program.slow_start(held=assignment.refuellable)
        self._linker: int | None = None

    def turn(self, until: float, *, alone: bool = False) -> bool:
        """See `Instance.turn`."""
        if self._step == Step.INSTANTIATING and self.module.memories is not None:
            # Others had their turns since, and what is made now must be counted as this job's.
            self.module.memories.account = self._account
        return super().turn(until, alone=alone)

    def _instantiate(self, now: float) -> Ended | None:
        self._handles = (ctypes.c_char * (_HANDLE * len(self._parts)))()
        self._handles_at = ctypes.addressof(self._handles)
        if self._slow:
            self._begin_slice()
            self._make()
            return None if self._future is not None else self._failure(now)
        for place in range(len(self._parts)):
            self._part = place
            self._make()
            if any(self._buffer[TRAP : TRAP + 16]):
                return self._failure(now)
        self._begin_slice()
        self._advance()
        return None

    def _failure(self, now: float) -> Ended:
        (trap,) = _u64.unpack_from(self._buffer, TRAP)
        (error,) = _u64.unpack_from(self._buffer, ERROR)
        return self._failed(trap, error, now)

    def _make(self) -> None:
        """Make the next instance, at once or as a future; what goes wrong at once is left in the buffer."""
        part, address, context = self._parts[self._part], self._address, self._context
        module = part.module
        self._drop_linker()
        linker = self._linker = capi.linker_clone(module.front(held=self.meter is not None).linker)
        capi.linker_shadowing(linker, True)
        for offset, position, of, name in part.wires:
            _export_nth(
                context, self._handles_at + offset, position, address + NAME, address + NAME_LENGTH, address + EXTERN
            )
            error = _define(linker, context, of, len(of), name, len(name), address + EXTERN)
            if error:
                _u64.pack_into(self._buffer, ERROR, error)
                return
        at = (linker, context, module.pointer, address + INSTANCE, address + TRAP)
        if self._slow:
            self._future = capi.linker_instantiate_async(*at, address + ERROR)
            return
        error = capi.linker_instantiate(*at)
        if error:
            _u64.pack_into(self._buffer, ERROR, error)
        self._keep()

    def _keep(self) -> None:
        """Keep the handle of the instance just made where later ones find its exports."""
        ctypes.memmove(self._handles_at + self._part * _HANDLE, self._address + INSTANCE, _HANDLE)

    def _advance(self) -> None:
        last = self._part == len(self._parts) - 1
        if last or not self._slow:
            super()._advance()
            return
        initialise = self._parts[self._part].module.description.initialise
        if self._step == Step.INSTANTIATING:
            self._keep()
            if initialise >= 0:
                self._initialise(initialise)
                return
        self._step = Step.INSTANTIATING
        self._part += 1
        self._make()

    def close(self, buffers: object) -> None:
        """Give back everything the instance holds."""
        self._drop_linker()
        super().close(buffers)  # type: ignore[arg-type]

    def _drop_linker(self) -> None:
        if self._linker is not None:
            capi.linker_delete(self._linker)
            self._linker = None

    def _where(self) -> str:
        if self._step == Step.CALLING or self._part == len(self._parts) - 1:
            return ""
        return f"in the linked module {self._parts[self._part].name!r}: "
