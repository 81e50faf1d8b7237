"""The module library: digest → what a module exports and imports, its bytes, and its compiled artifact.

Artifacts are kept on disk under a key: mapping one means trusting each of its bytes, so a file counts only with a
seal over it that was made with the directory's own secret. Anything else is compiled again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, OrderedDict
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec

from wasmq.compiling import Compiler
from wasmq.config import Config
from wasmq.confinement import Confinement
from wasmq.errors import InvalidModule, UnknownModule
from wasmq.modules.module import DIGEST, Module, module_of, no_such_module
from wasmq.shelf import Shelf
from wasmq.sources import read_source
from wasmq.store import SharedStore
from wasmq.types import printable
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


class Library:
    """The modules of one scheduler. `tasks` owns the process that compiles; a shared `store` has them for others.

    Where there is no room for a module that is recalled, or on a durable store for any, those unused longest are
    forgotten, which `forgotten` is told: they can be recalled in their turn. Not forgotten are those that `in_use`
    returns and those that are held, even if there are then more than may be loaded.
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
        self._lasting = store is not None and store.durable
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
        if not DIGEST.fullmatch(digest):
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
        if known is None:
            # One tenant's modules must not keep out another's, where those that go can come back.
            if recalled or self._lasting:
                self._make_room(1)
            if not recalled and len(self._modules) >= self._config.max_loaded:
                raise InvalidModule(f"module: {len(self._modules)} modules are loaded already (modules.max_loaded)")
        try:
            module = module_of(described, path, size)
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
