"""The module library: digest → what a module exports and imports, its bytes, and its compiled artifact.

Artifacts are kept on disk under a key: mapping one means trusting each of its bytes, so a file counts only with a
seal over it that was made with the directory's own secret. Anything else is compiled again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.to_thread
import msgspec

from wasmq.compiling import Compiler
from wasmq.errors import InvalidModule, UnknownExport, UnknownModule
from wasmq.shelf import Shelf
from wasmq.sources import read_source
from wasmq.types import COMMAND, INITIALISE, Extern, FunctionType, Import, printable
from wasmq.units import format_size

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from anyio.abc import TaskGroup

    from wasmq.config import ModulesConfig
    from wasmq.metrics import Metrics
    from wasmq_worker.protocol import Described

PASSABLE = frozenset({"i32", "i64", "f32", "f64", "v128"})
"""Value types that a call can carry in or out."""


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
    offers: tuple[FunctionType | None, ...] = field(default=(), repr=False)
    """For each import the type of the WASI function of that name, None where there is none; empty is none for all."""
    functions: dict[str, FunctionType] = field(init=False, repr=False)
    """The exported functions by name."""
    signatures: tuple[tuple[int, FunctionType], ...] = field(init=False, repr=False)
    """The ones that can be called from outside: place among all exports, and type."""
    places: dict[str, int] = field(init=False, repr=False)
    """Export name → place in `signatures`."""
    wasi: tuple[str, ...] = field(init=False, repr=False)
    """The WASI functions that satisfy an import."""
    initialise: int = field(init=False, repr=False)
    """The place among all exports of what a reactor wants called before anything else, or -1."""
    missing: tuple[tuple[Import, FunctionType | None], ...] = field(init=False, repr=False)
    """The imports that WASI does not satisfy, and the type of a function that only has the same name."""

    def __post_init__(self) -> None:
        functions = [
            (position, extern.name, extern.type)
            for position, extern in enumerate(self.exports)
            if isinstance(extern.type, FunctionType)
        ]
        passable = [
            (position, name, function)
            for position, name, function in functions
            if PASSABLE.issuperset(function.params) and PASSABLE.issuperset(function.results)
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

    def function(self, export: str) -> FunctionType:
        """Return an exported function's type. Raises `UnknownExport` naming what there is instead."""
        found: FunctionType | None = self.functions.get(export)
        if found is not None:
            return found
        for extern in self.exports:
            if extern.name == export:
                raise UnknownExport(f"export {printable(export)!r} is not a function but {extern.type}")
        names = ", ".join(printable(name, 40) for name in list(self.functions)[:8]) or "none"
        raise UnknownExport(f"no export {printable(export)!r}; the module's functions: {names}")


class Library:
    """The modules of one scheduler. `tasks` owns the process that compiles."""

    def __init__(self, config: ModulesConfig, engine: str, metrics: Metrics, tasks: TaskGroup) -> None:
        self._config = config
        self._metrics = metrics
        self._tasks = tasks
        self._shelf = Shelf(config, engine)
        self._compiler = Compiler(config, engine)
        self._modules: dict[str, Module] = {}
        self._loading: dict[str, anyio.Event] = {}

    def __getitem__(self, digest: str) -> Module:
        try:
            return self._modules[digest]
        except KeyError:
            raise UnknownModule(f"no module with digest {printable(digest, 80)!r} was loaded here") from None

    def all(self) -> list[Module]:
        """Return the loaded modules, oldest first."""
        return list(self._modules.values())

    async def load(self, source: str | os.PathLike[str] | bytes) -> Module:
        """Return the module in a file, in bytes or in WebAssembly text.

        Raises `InvalidModule`, or `OSError` when the file cannot be read.
        """
        data, name = await read_source(source)
        if len(data) > self._config.max_size:
            raise InvalidModule(
                f"{name}: {format_size(len(data))} is above the limit of {format_size(self._config.max_size)} "
                "(modules.max_size)"
            )
        key = hashlib.sha256(data).hexdigest() if len(data) < 2**16 else await anyio.to_thread.run_sync(_digest, data)
        try:
            return await self._once(key, lambda: self._make(key, data))
        except InvalidModule as error:
            raise InvalidModule(f"{name}{str(error).removeprefix('module')}") from None

    async def repair(self, digest: str) -> Module:
        """Compile a module again whose artifact cannot be mapped. Raises `InvalidModule` or `UnknownModule`."""
        wasm = await anyio.to_thread.run_sync(self._shelf.wasm, digest)
        if wasm is None:
            raise UnknownModule(f"module {digest[:12]}: its artifact cannot be mapped and its bytes are gone")
        return self._add(await self._compile(wasm), replace=True)

    async def close(self) -> None:
        """End the compile process and drop what was kept only for this scheduler."""
        await self._compiler.close()
        await anyio.to_thread.run_sync(self._shelf.close)

    async def _once(self, key: str, make: Callable[[], object]) -> Module:
        """Let the first caller with a key do the work and the others wait for it."""
        while (event := self._loading.get(key)) is not None:
            await event.wait()
        if (module := self._modules.get(key)) is not None:
            return module
        event = self._loading[key] = anyio.Event()
        try:
            return await make()  # type: ignore[misc,no-any-return]
        finally:
            del self._loading[key]
            event.set()

    async def _make(self, key: str, data: bytes) -> Module:
        found = await anyio.to_thread.run_sync(self._shelf.find, key)
        if found is not None:
            self._metrics.module_cached("hit")
            return self._add(found)
        self._metrics.module_cached("miss")
        return self._add(await self._compile(data, key))

    async def _compile(self, data: bytes, key: str | None = None) -> tuple[Described, Path, int]:
        artifact = await self._compiler.compile(data, self._tasks)
        self._metrics.module_compiled(artifact.compiled.seconds)
        return await anyio.to_thread.run_sync(self._shelf.keep, artifact, key)

    def _add(self, found: tuple[Described, Path, int], *, replace: bool = False) -> Module:
        """Enter a module, or return the one that is there: workers map each object that they meet anew."""
        described, path, size = found
        known = self._modules.get(described.digest)
        if known is not None and not replace:
            return known
        if len(self._modules) >= self._config.max_loaded and described.digest not in self._modules:
            raise InvalidModule(f"module: {len(self._modules)} modules are loaded already (modules.max_loaded)")
        try:
            exports = msgspec.convert(described.exports, tuple[Extern, ...])
            imports = msgspec.convert(described.imports, tuple[Import, ...])
            offers = msgspec.convert(described.offers, tuple[FunctionType | None, ...])
            supply = tuple(zip(imports, offers, strict=True))
        except (msgspec.ValidationError, ValueError) as error:
            raise InvalidModule(f"module: its compile process described nonsense: {error}") from None
        module = self._modules[described.digest] = Module(
            digest=described.digest,
            kind="module",
            exports=exports,
            imports=imports,
            offers=tuple(offer for _, offer in supply),
            size=size,
            artifact=path,
            counted=described.counted,
            start=described.start,
            memory=described.memory,
            exported_memory=described.exported_memory,
        )
        return module


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
