"""`wasmq inspect`: what a module is, what it offers and what it needs."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import anyio
import msgspec

from wasmq import logs, wit
from wasmq.cli.exits import Unreadable
from wasmq.cli.options import ConfigFile, Json, LinkedFiles, ModuleFile, effective_config, linked_files
from wasmq.cli.output import print_json, print_line, print_table, spin
from wasmq.host import HostFunctions, offer_configured
from wasmq.metrics import Metrics
from wasmq.modules import Library, Module
from wasmq.supply import supply
from wasmq.types import FunctionType, GlobalType, MemoryType, TableType, TagType, printable
from wasmq.units import format_size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from wasmq.config import Config
    from wasmq.supply import Supply

__all__ = ["inspect", "load_module", "load_modules", "unreadable"]

_KINDS: dict[type[msgspec.Struct], str] = {
    FunctionType: "function",
    MemoryType: "memory",
    TableType: "table",
    GlobalType: "global",
    TagType: "tag",
}


def inspect(
    file: ModuleFile,
    /,
    *,
    link: LinkedFiles = (),
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Show what a module is, what it exports and imports, and who would satisfy its imports in a job linked so."""
    logs.configure("error")
    settings, linked = effective_config(config), linked_files(link)
    module, *others = anyio.run(load_modules, settings, (file, *linked.values()))
    links = tuple(sorted(zip(linked, others, strict=True), key=lambda entry: entry[0]))
    functions = HostFunctions(settings.prices.host)
    offer_configured(functions, settings.host)
    supplies = [_or_host(each, functions, linked) for each in supply(module, links)]
    if json:
        print_json(_report(module, supplies))
        return 0
    for name, text in (
        ("kind", module.kind),
        ("digest", module.digest),
        ("size", format_size(module.size)),
        *(("memory", text) for text in _memories(module)),
    ):
        print_line(f"{name:8}{text}")
    rows = [("export", extern.name, str(extern.type), "") for extern in module.exports]
    rows += [("import", _named(module, each), str(each.wanted.type), _source(module, each)) for each in supplies]
    if rows:
        print_line("")
        print_table(str(file), ("way", "name", "type", "satisfied by"), rows)
    return 0


async def load_module(config: Config, file: Path) -> Module:
    """Return the module in a file: see `load_modules`."""
    (module,) = await load_modules(config, (file,))
    return module


async def load_modules(config: Config, files: Sequence[Path]) -> list[Module]:
    """Return the modules in files, compiled if they are not in the cache; no worker process is needed for that.

    Raises `Unreadable`, or `InvalidModule` for what is no module.
    """
    modules = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spin, f"compiling {', '.join([str(file) for file in files])}")
        library = Library(config.modules, config.scheduler.engine, Metrics(), tasks)
        try:
            for file in files:
                with unreadable(file):
                    modules.append(await library.load(file))
        finally:
            with anyio.CancelScope(shield=True):
                await library.close()
        tasks.cancel_scope.cancel()
    return modules


@contextmanager
def unreadable(file: Path) -> Iterator[None]:
    """Raise `Unreadable` for an `OSError` about `file`."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(error.filename) != file:
            raise
        raise Unreadable(f"{file}: {error.strerror or error}") from None


def _memories(module: Module) -> list[str]:
    found = []
    for way, externs in (("exported as", module.exports), ("imported as", module.imports)):
        for extern in externs:
            if isinstance(extern.type, MemoryType):
                most = (
                    "no maximum"
                    if extern.type.maximum is None
                    else f"at most {_pages(extern.type, extern.type.maximum)}"
                )
                found.append(f"{_pages(extern.type, extern.type.minimum)}, {most}, {way} {extern.name}")
    return found


def _pages(memory: MemoryType, pages: int) -> str:
    return format_size(pages * memory.page_size)


def _or_host(of: Supply, functions: HostFunctions, linked: Collection[str]) -> Supply:
    """Return what satisfies an import, which may be a host function that the configuration names."""
    function = None if of.source is not None or of.wanted.module in linked else functions.find(of.wanted)
    if function is None:
        return of
    name = f"{of.wanted.module}.{of.wanted.name}"
    if function.type != of.wanted.type:
        problem = f"the import {printable(name)} has another type: it wants {of.wanted.type}, there is "
        return of._replace(problem=f"{problem}{function.type}")
    return of._replace(source="host", problem=None)


def _named(module: Module, of: Supply) -> str:
    mark = "#" if module.kind == "component" else "."
    return f"{of.wanted.module}{mark}{of.wanted.name}".removeprefix("#")


def _source(module: Module, of: Supply) -> str:
    match of.source:
        case "link":
            return f"the linked module {of.wanted.module}"
        case "wasi":
            return "WASI 0.2" if module.kind == "component" else "WASI preview 1"
        case "host":
            return f"the configured host function; needs a grant of {printable(_named(module, of))}"
        case None:
            return of.problem or "nobody"
    assert_never(of.source)


def _report(module: Module, supplies: Sequence[Supply]) -> dict[str, object]:
    """Return the module as HTTP describes it, and for each import who satisfies it, or null and why nobody does."""
    missing = {id(wanted) for wanted, _ in module.missing}
    return {
        "kind": module.kind,
        "digest": module.digest,
        "size": module.size,
        "exports": [{"name": extern.name, "type": _type(extern.type)} for extern in module.exports],
        "imports": [
            {
                "module": each.module,
                "name": each.name,
                "type": _type(each.type),
                "satisfied": id(each) not in missing,
            }
            for each in module.imports
        ],
        "supply": [{"by": each.source, "problem": each.problem} for each in supplies],
    }


def _type(of: msgspec.Struct) -> dict[str, object]:
    match of:
        case wit.Func():
            params = [{"name": param.name, "type": str(param.type)} for param in of.params]
            result = None if of.result is None else str(of.result)
            return {"kind": "component-function", "params": params, "result": result, "wit": str(of)}
        case wit.Definition() | wit.Resource() | wit.OtherItem():
            return {"kind": "item", "wit": wit.shown("", of).replace("  ", " ")}
    return {"kind": _KINDS[type(of)], **msgspec.structs.asdict(of)}
