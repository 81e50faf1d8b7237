"""Modules and components: what each exports and imports, and what is known of its artifact."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from wasmq import wit
from wasmq.errors import UnknownExport, UnknownModule
from wasmq.exports import listed, resolve_component
from wasmq.types import COMMAND, INITIALISE, PASSABLE, Extern, FunctionType, Import, MemoryType, printable
from wasmq_worker.protocol import MAX_EXTERNS

if TYPE_CHECKING:
    from pathlib import Path

    from wasmq_worker.protocol import Described

_Text = Annotated[str, msgspec.Meta(max_length=100_000)]

DIGEST: Final = re.compile("[0-9a-f]{64}")
"""The form of a digest."""


@dataclass(frozen=True, eq=False)
class Module:
    """A loaded module. `digest` is the SHA-256 of its wasm bytes in hex, `size` their number."""

    digest: str
    kind: Literal["module", "component"]
    exports: tuple[Extern, ...]
    imports: tuple[Import, ...]
    size: int
    artifact: Path
    counted: bool
    start: bool
    memory: int
    exported_memory: int
    offers: tuple[FunctionType | bool | str | None, ...] = field(default=(), repr=False)
    """For each import the type of the WASI function of that name, None where there is none; empty is none for all.

    Of a component: see `Component`.
    """
    fixed: int = 0
    """Bytes of a component's memories that cannot grow."""
    record: int = 0
    """Bytes that an instance takes at most beside its memories and its stack."""
    growing: bool = True
    """Whether its memories may become larger than `memory` says, when it runs alone."""
    functions: dict[str, FunctionType | wit.Func] = field(init=False, repr=False)
    """The exported functions by name."""
    signatures: tuple[tuple[int, FunctionType], ...] = field(init=False, repr=False)
    """The ones that can be called from outside: place among all exports, and type."""
    places: dict[str, int] = field(init=False, repr=False)
    """Export name → place in `signatures`."""
    wasi: tuple[str, ...] = field(init=False, repr=False)
    """The WASI functions that satisfy an import."""
    initialise: int = field(init=False, repr=False)
    """The place among all exports of what a reactor wants called before anything else, or -1."""
    missing: tuple[tuple[Import, object], ...] = field(init=False, repr=False)
    """The imports that WASI does not satisfy, and the type of a function that only has the same name."""

    def __post_init__(self) -> None:
        functions = [
            (position, extern.name, extern.type)
            for position, extern in enumerate(self.exports)
            if isinstance(extern.type, FunctionType)
        ]
        passable = [
            (position, name, function) for position, name, function in functions if PASSABLE.issuperset(function.params)
        ]
        derive = object.__setattr__
        derive(self, "functions", {name: function for _, name, function in functions})
        derive(self, "signatures", tuple((position, function) for position, _, function in passable))
        supply = list(zip(self.imports, self.offers or [None] * len(self.imports), strict=True))
        derive(self, "wasi", tuple(dict.fromkeys(wanted.name for wanted, offer in supply if wanted.type == offer)))
        derive(self, "missing", tuple((wanted, offer) for wanted, offer in supply if wanted.type != offer))
        is_reactor = COMMAND not in self.functions and self.functions.get(INITIALISE) == FunctionType((), ())
        derive(
            self, "initialise", next(place for place, name, _ in functions if name == INITIALISE) if is_reactor else -1
        )
        derive(self, "places", {name: place for place, (_, name, _) in enumerate(passable)})

    @property
    def command(self) -> str | None:
        """The export that runs it as a WASI command, None when it is none."""
        return COMMAND if COMMAND in self.functions else None

    @property
    def is_hosted(self) -> bool:
        """Whether it may be given a world to write into: output and files."""
        return bool(self.wasi) or self.kind == "component"

    def memory_within(self, cap: int) -> int:
        """Return the bytes that its memories can come to under a job's cap."""
        if not self.growing:
            return min(self.memory, cap)
        shown = self.exports[self.exported_memory].type if self.exported_memory >= 0 else None
        if isinstance(shown, MemoryType) and shown.maximum is not None:
            return min(shown.maximum * shown.page_size, cap)
        return cap

    def resolve(self, export: str) -> str:
        """Return an export's full name; one that is not there stays as it is."""
        return export

    def function(self, export: str) -> FunctionType | wit.Func:
        """Return an exported function's type. Raises `UnknownExport` naming what there is instead."""
        found = self.functions.get(export)
        if found is not None:
            return found
        for extern in self.exports:
            if extern.name == export:
                raise UnknownExport(f"export {printable(export)!r} is not a function but {extern.type}")
        raise UnknownExport(f"no export {printable(export)!r}; the module's functions: {listed(self.functions)}")


@dataclass(frozen=True, eq=False)
class Component(Module):
    """A loaded component. What an instance exports is named `instance#name`.

    `offers` has for each import True if WASI 0.2 satisfies it, None where there is nothing of that name, else the type
    of what there is.
    """

    def __post_init__(self) -> None:
        functions = {each.name: each.type for each in self.exports if isinstance(each.type, wit.Func)}
        callable_ = [name for name, function in functions.items() if wit.obstacle(function) is None]
        derive = object.__setattr__
        derive(self, "functions", functions)
        derive(self, "signatures", ())
        derive(self, "wasi", ())
        derive(self, "initialise", -1)
        supply = zip(self.imports, self.offers, strict=True)
        derive(self, "missing", tuple((wanted, offer) for wanted, offer in supply if offer is not True))
        derive(self, "places", {name: place for place, name in enumerate(callable_)})

    @property
    def command(self) -> str | None:
        """See `Module`."""
        return next((name for name in self.functions if wit.is_command(name)), None)

    def resolve(self, export: str) -> str:
        """Return an export's full name, given that or its last part if no other has it. Raises `UnknownExport`."""
        return resolve_component(self.functions, self.exports, export)

    def function(self, export: str) -> wit.Func:
        """Return an exported function's type. Raises `UnknownExport` naming what there is instead."""
        function = self.functions[self.resolve(export)]
        assert isinstance(function, wit.Func)
        return function


def is_digest(text: str) -> bool:
    """Return whether a text has the form of a module's digest."""
    return DIGEST.fullmatch(text) is not None


def no_such_module(digest: str) -> UnknownModule:
    """Return the error for a digest that names no module, or none that the asking one may see: the two look alike."""
    return UnknownModule(f"no module with digest {printable(digest, 80)!r} was loaded here")


def module_of(described: Described, path: Path, size: int) -> Module:
    """Return a module by its description. Raises `ValueError` and the like when that is nonsense."""
    if len(described.exports) + len(described.imports) > MAX_EXTERNS:
        raise ValueError("more imports and exports than there can be")
    exports = msgspec.convert(described.exports, tuple[Extern, ...])
    imports = msgspec.convert(described.imports, tuple[Import, ...])
    rest: dict[str, Any] = {
        "digest": described.digest,
        "exports": exports,
        "imports": imports,
        "size": size,
        "artifact": path,
        "counted": described.counted,
        "start": described.start,
        "memory": described.memory,
        "exported_memory": described.exported_memory,
        "record": described.record,
        "growing": described.growing,
    }
    if described.kind != "component":
        offers: tuple[Any, ...] = msgspec.convert(described.offers, tuple[FunctionType | None, ...])
        made = Module(kind="module", offers=offers, **rest)
    else:
        for type_ in [*[each.type for each in exports], *[each.type for each in imports]]:
            if not isinstance(type_, wit.Item):
                raise ValueError("a core type in a component")
            wit.check_size(type_)
        offers = msgspec.convert(described.offers, tuple[bool | _Text | None, ...])
        made = Component(kind="component", offers=offers, fixed=described.fixed, **rest)
    if described.exported_memory >= len(exports):
        raise ValueError("an exported memory that is no export")
    if len(offers) != len(imports):
        raise ValueError("not an offer for each import")
    return made
