"""The numbers by which workers know what they run: artifacts, and artifacts linked with each other. Without I/O."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from wasmq import wit
from wasmq.supply import arrange
from wasmq_worker.protocol import (
    ComponentFunction,
    ComponentParts,
    ComponentResource,
    Link,
    Map,
    Part,
    Signature,
    Wire,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq.job import Call
    from wasmq.modules import Module
    from wasmq.supply import Arrangement
    from wasmq_worker.protocol import HostImport

KEPT: Final = 1_000
"""Combinations of linked modules that workers keep ready; the one unused longest is forgotten first."""


class Program(NamedTuple):
    """What a job runs: its own module, and the parts it is linked from, all by their numbers."""

    number: int
    module: Module
    artifacts: tuple[tuple[int, Module, tuple[HostImport, ...]], ...]
    link: Link | None

    def frames(self, mapped: set[int]) -> list[msgspec.Struct]:
        """Return what a worker must be told that knows the numbers in `mapped`, which will have the new ones too."""
        frames: list[msgspec.Struct] = []
        for number, module, host in self.artifacts:
            if number not in mapped:
                mapped.add(number)
                frames.append(_map_frame(number, module, host))
        if self.link is not None:
            mapped.add(self.number)
            frames.append(self.link)
        return frames


class Programs:
    """Gives out numbers, none of them twice.

    A module gets a new one when it was compiled again, or host functions have come that it imports: `imports` says.
    """

    def __init__(
        self,
        modules: Callable[[str], Module],
        counted: Callable[[str], Module],
        imports: Callable[[Module], tuple[HostImport, ...]] = lambda _: (),
    ) -> None:
        self._imports = imports
        self._modules = modules
        self._counted = counted
        self._next = 1
        self._plain: dict[tuple[str, bool], Program] = {}
        self._linked: OrderedDict[tuple[str, tuple[tuple[str, str], ...]], Program] = OrderedDict()
        self._forgotten: list[int] = []

    def of(self, call: Call) -> Program:
        """Return what a call runs. Raises `UnknownModule`."""
        if not call.links:
            return self._artifact(self._modules(call.module))
        key = (call.module, call.links)
        known = self._linked.get(key)
        if known is not None:
            self._linked.move_to_end(key)
            if all(self._counted(module.digest) is module for _, module, _ in known.artifacts):
                return known
            self._forgotten.append(known.number)
        made = self._linked[key] = self._link(call)
        if len(self._linked) > KEPT:
            _, oldest = self._linked.popitem(last=False)
            self._forgotten.append(oldest.number)
        return made

    def mapped(self, number: int) -> Module | None:
        """Return the module whose artifact has a number, None when it has been replaced by another."""
        return next((program.module for program in self._plain.values() if program.number == number), None)

    def forget(self, digest: str) -> None:
        """Let go of a module and all that is linked with it. Jobs that run go on; the next ones get new numbers."""
        for counted in (False, True):
            program = self._plain.pop((digest, counted), None)
            if program is not None:
                self._forgotten.append(program.number)
        for key in [key for key in self._linked if digest == key[0] or any(digest == linked for _, linked in key[1])]:
            self._forgotten.append(self._linked.pop(key).number)

    def forgotten(self) -> list[int]:
        """Return the numbers that nobody will use any more, once."""
        numbers, self._forgotten = self._forgotten, []
        return numbers

    def _artifact(self, module: Module) -> Program:
        key = (module.digest, module.counted)
        known = self._plain.get(key)
        host = self._imports(module)
        if known is not None and known.module is module and known.artifacts[0][2] == host:
            return known
        number = self._number()
        made = self._plain[key] = Program(number, module, ((number, module, host),), None)
        return made

    def _link(self, call: Call) -> Program:
        links = tuple([(name, self._modules(digest)) for name, digest in call.links])
        arrangement = arrange(self._modules(call.module), links)
        programs = [self._artifact(self._counted(part.module.digest)) for part in arrangement.parts]
        number = self._number()
        artifacts = dict.fromkeys([program.artifacts[0] for program in programs])
        frame = Link(number, _parts(arrangement, [program.number for program in programs]))
        return Program(number, programs[-1].module, tuple(artifacts), frame)

    def _number(self) -> int:
        number = self._next
        self._next = number + 1
        return number


def _parts(arrangement: Arrangement, numbers: list[int]) -> tuple[Part, ...]:
    parts = []
    for number, part in zip(numbers, arrangement.parts, strict=True):
        wires = {
            (supply.wanted.module, supply.wanted.name): Wire(
                supply.wanted.module, supply.wanted.name, supply.part, supply.position
            )
            for supply in part.supplies
            if supply.source == "link"
        }
        parts.append(Part(number, part.names[0] if part.names else "", tuple(wires.values())))
    return tuple(parts)


def _map_frame(number: int, module: Module, host: tuple[HostImport, ...]) -> Map:
    return Map(
        number,
        str(module.artifact),
        module.counted,
        module.start,
        module.memory,
        module.exported_memory,
        tuple(Signature(position, type_.params, type_.results) for position, type_ in module.signatures),
        module.initialise,
        module.wasi,
        host,
        _component(module) if module.kind == "component" else None,
    )


def _component(module: Module) -> ComponentParts:
    calls = []
    for name in module.places:
        interface, _, function = name.rpartition("#")
        type_ = module.functions[name]
        if isinstance(type_, wit.Func):
            calls.append(_component_function(interface, function, type_))
    imports = [
        _component_function(each.module, each.name, each.type)
        for each in module.imports
        if isinstance(each.type, wit.Func)
    ]
    resources = [
        ComponentResource(each.module, each.name) for each in module.imports if isinstance(each.type, wit.Resource)
    ]
    return ComponentParts(tuple(calls), tuple(imports), tuple(resources), module.fixed)


def _component_function(interface: str, name: str, function: wit.Func) -> ComponentFunction:
    params = [msgspec.to_builtins(param.type) for param in function.params]
    return ComponentFunction(interface, name, params, msgspec.to_builtins(function.result))
