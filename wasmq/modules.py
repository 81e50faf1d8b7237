"""The module library: digest → what a module exports and imports, its bytes, and its compiled artifact.

Artifacts are kept on disk under a key: mapping one means trusting each of its bytes, so a file counts only with a
seal over it that was made with the directory's own secret. Anything else is compiled again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter, OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
import anyio.to_thread
import msgspec

from wasmq import wit
from wasmq.compiling import Compiler
from wasmq.config import Config
from wasmq.confinement import Confinement
from wasmq.errors import InvalidModule, UnknownExport, UnknownModule
from wasmq.exports import listed, resolve_component
from wasmq.shelf import Shelf
from wasmq.sources import read_source
from wasmq.store import SharedStore
from wasmq.types import COMMAND, INITIALISE, PASSABLE, Extern, FunctionType, Import, MemoryType, printable
from wasmq.units import format_size

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from anyio.abc import TaskGroup

    from wasmq.config import ModulesConfig
    from wasmq.metrics import Metrics
    from wasmq.store import Store
    from wasmq_worker.protocol import Described

_Text = Annotated[str, msgspec.Meta(max_length=100_000)]

_DIGEST = re.compile("[0-9a-f]{64}")


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
    return _DIGEST.fullmatch(text) is not None


def no_such_module(digest: str) -> UnknownModule:
    """Return the error for a digest that names no module, or none that the asking one may see: the two look alike."""
    return UnknownModule(f"no module with digest {printable(digest, 80)!r} was loaded here")


class Library:
    """The modules of one scheduler. `tasks` owns the process that compiles; a shared `store` has them for others.

    Where there is no room for a module that is recalled, those unused longest are forgotten, which `forgotten` is told:
    they can be recalled in their turn. Not forgotten are those that `in_use` returns and those that are held, even if
    there are then more than may be loaded.
    """

    def __init__(
        self,
        config: ModulesConfig,
        engine: str,
        metrics: Metrics,
        tasks: TaskGroup,
        store: Store | None = None,
        *,
        in_use: Callable[[], Collection[str]] = tuple,
        forgotten: Callable[[str], None] = lambda _: None,
        confinement: Confinement | None = None,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._tasks = tasks
        confinement = confinement or Confinement(Config())
        self._shelf = Shelf(config, engine, confinement.readers)
        self._compiler = Compiler(config, engine, confinement=confinement, artifacts=lambda: self._shelf.artifacts)
        self._modules: dict[str, Module] = {}
        self._counted: dict[str, Module] = {}
        self._loading: dict[str, anyio.Event] = {}
        self._store = store if isinstance(store, SharedStore) else None
        self._shared: set[str] = set()
        self._in_use = in_use
        self._forgotten = forgotten
        self._held: Counter[str] = Counter()
        self._recency: OrderedDict[str, None] = OrderedDict()

    def __getitem__(self, digest: str) -> Module:
        try:
            module = self._modules[digest]
        except KeyError:
            raise no_such_module(digest) from None
        self._recency.move_to_end(digest)
        return module

    def __contains__(self, digest: str) -> bool:
        return digest in self._modules

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
            module = await self._once(key, lambda: self._make(key, data))
        except InvalidModule as error:
            raise InvalidModule(f"{name}{str(error).removeprefix('module')}") from None
        if self._store is not None and module.digest not in self._shared:
            await self._share(self._store, module.digest, data if key == module.digest else None)
        return module

    def counted(self, digest: str) -> Module:
        """Return a module as linked jobs run it: with an artifact for the engine that counts memory itself.

        Raises `UnknownModule` unless `count` has seen to it.
        """
        module = self[digest]
        if module.counted:
            return module
        try:
            return self._counted[digest]
        except KeyError:
            raise UnknownModule(f"module {digest[:12]} was not compiled for linking") from None

    def has(self, digests: Sequence[str]) -> bool:
        """Return whether all modules of a call are ready to be run: several are linked with each other."""
        if len(digests) == 1:
            return digests[0] in self._modules
        return all(
            digest in self._counted or ((module := self._modules.get(digest)) is not None and module.counted)
            for digest in digests
        )

    async def count(self, digest: str) -> None:
        """See to it that a module can be linked: compile it for that if it is not on the shelf. Raises `InvalidModule`.

        Linked jobs run on the engine that counts memory itself, because the cap is on the sum over all their memories.
        """
        if self[digest].counted or digest in self._counted:
            return
        await self._once(f"{digest} counted", lambda: self._count(digest))

    async def open(self) -> None:
        """Make sure that there is a place for modules that outlives this process. Raises `ConfigError`."""
        await anyio.to_thread.run_sync(self._shelf.open_lasting)

    async def place(self) -> Path:
        """Return the directory of all artifacts, now and later: workers can open nothing else."""
        return await anyio.to_thread.run_sync(self._shelf.open)

    async def recall(self, digest: str) -> Module:
        """Return a module that is loaded, that another life of this directory has kept, or that a shared store has.

        Raises `UnknownModule` when it is not there either, or `InvalidModule`.
        """
        if not _DIGEST.fullmatch(digest):
            return self[digest]
        return await self._once(digest, lambda: self._fetch(digest))

    @contextmanager
    def holding(self, digests: Collection[str]) -> Iterator[None]:
        """See to it that modules which are loaded, or are recalled meanwhile, stay."""
        for digest in digests:
            self._held[digest] += 1
        try:
            yield
        finally:
            for digest in digests:
                self._held[digest] -= 1
                if not self._held[digest]:
                    del self._held[digest]
            self.tidy()

    def tidy(self) -> None:
        """Forget what is unused longest of what is loaded beyond the number that may be."""
        self._make_room(0)

    async def wasm(self, digest: str) -> bytes:
        """Return the bytes of a module. Raises `UnknownModule` when they are nowhere."""
        wasm = await anyio.to_thread.run_sync(self._shelf.wasm, digest)
        if wasm is None and self._store is not None:
            wasm = await self._store.get_module(digest)
        if wasm is None or await anyio.to_thread.run_sync(_digest, wasm) != digest:
            raise UnknownModule(f"module {printable(digest, 80)}: its bytes are gone")
        return wasm

    async def repair(self, broken: Module) -> None:
        """Compile a module again whose artifact cannot be mapped. Raises `InvalidModule` or `UnknownModule`."""
        digest = broken.digest
        if broken is self._counted.get(digest):
            found = await self._compile_counted(digest)
            self._counted[digest] = dataclasses.replace(self[digest], counted=True, artifact=found[1])
        else:
            self._add(await self._compile(await self._wasm(digest)), replace=True, recalled=True)

    def knows(self, module: Module) -> bool:
        """Return whether this is what the library has for its digest now, and not what it has replaced."""
        return module is self._modules.get(module.digest) or module is self._counted.get(module.digest)

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

    async def _count(self, digest: str) -> Module:
        if (known := self._counted.get(digest)) is not None:
            return known
        module = self[digest]
        found = await anyio.to_thread.run_sync(partial(self._shelf.find, digest, counted=True))
        if found is None:
            found = await self._compile_counted(digest)
        made = self._counted[digest] = dataclasses.replace(module, counted=True, artifact=found[1])
        return made

    async def _compile_counted(self, digest: str) -> tuple[Described, Path, int]:
        artifact = await self._compiler.compile(await self._wasm(digest), self._tasks, counted=True)
        self._metrics.module_compiled(artifact.compiled.seconds)
        return await anyio.to_thread.run_sync(partial(self._shelf.keep, artifact, None, counted=True))

    async def _wasm(self, digest: str) -> bytes:
        wasm = await anyio.to_thread.run_sync(self._shelf.wasm, digest)
        if wasm is None:
            raise UnknownModule(f"module {digest[:12]}: it must be compiled again, and its bytes are gone")
        return wasm

    async def _fetch(self, digest: str) -> Module:
        found = await anyio.to_thread.run_sync(self._shelf.find, digest)
        if found is not None and found[0].digest == digest:  # else it is the digest of a text
            self._metrics.module_cached("hit")
            return self._add(found, recalled=True)
        wasm = await anyio.to_thread.run_sync(self._shelf.wasm, digest)
        if wasm is None and self._store is not None:
            wasm = await self._store.get_module(digest)
            if wasm is not None and await anyio.to_thread.run_sync(_digest, wasm) != digest:
                raise UnknownModule(f"module {printable(digest, 80)}: the store has other bytes than its digest says")
        if wasm is None:
            raise UnknownModule(f"module {printable(digest, 80)} is not in {self._shelf.directory}")
        self._metrics.module_cached("miss")
        return self._add(await self._compile(wasm, digest), recalled=True)

    async def _share(self, store: SharedStore, digest: str, wasm: bytes | None) -> None:
        """Put a module's bytes into the store, before any job can call it there."""
        if wasm is None:  # it was loaded as text
            wasm = await anyio.to_thread.run_sync(self._shelf.wasm, digest)
        if wasm is not None:
            await store.put_module(digest, wasm)
            self._shared.add(digest)

    async def _compile(self, data: bytes, key: str | None = None) -> tuple[Described, Path, int]:
        artifact = await self._compiler.compile(data, self._tasks)
        self._metrics.module_compiled(artifact.compiled.seconds)
        return await anyio.to_thread.run_sync(self._shelf.keep, artifact, key)

    def _add(self, found: tuple[Described, Path, int], *, replace: bool = False, recalled: bool = False) -> Module:
        """Enter a module, or return the one that is there: workers map each object that they meet anew."""
        described, path, size = found
        known = self._modules.get(described.digest)
        if known is not None and not replace:
            return known
        if recalled and known is None:
            self._make_room(1)
        elif known is None and len(self._modules) >= self._config.max_loaded:
            raise InvalidModule(f"module: {len(self._modules)} modules are loaded already (modules.max_loaded)")
        try:
            module = _module(described, path, size)
        except (msgspec.ValidationError, ValueError, RecursionError) as error:
            raise InvalidModule(f"module: its compile process described nonsense: {error}") from None
        self._modules[described.digest] = module
        self._recency[described.digest] = None
        return module

    def _make_room(self, wanted: int) -> None:
        """Forget what is unused longest if there is no room for so many more."""
        excess = len(self._modules) + wanted - self._config.max_loaded
        if excess <= 0:
            return
        kept = {*self._in_use(), *self._held}
        for digest in list(islice((digest for digest in self._recency if digest not in kept), excess)):
            del self._modules[digest], self._recency[digest]
            self._counted.pop(digest, None)
            self._shared.discard(digest)
            self._forgotten(digest)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _module(described: Described, path: Path, size: int) -> Module:
    """Return a module by its description. Raises `ValueError` and the like when that is nonsense."""
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
