"""`wasmq inspect`: what a module is, what it offers and what it needs."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec

from wasmq import logs, wit
from wasmq.cli.exits import Unreadable
from wasmq.cli.options import ConfigFile, Json, ModuleFile, effective_config
from wasmq.cli.output import print_json, print_line, print_table, spin
from wasmq.metrics import Metrics
from wasmq.modules import Component, Library, Module
from wasmq.types import FunctionType, GlobalType, MemoryType, TableType, TagType
from wasmq.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wasmq.config import Config

__all__ = ["inspect", "load_module", "unreadable"]

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
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Show a module's kind, digest, size and memories, its exports and its imports with their types."""
    logs.configure("error")
    module = anyio.run(load_module, effective_config(config), file)
    if json:
        print_json(_report(module))
        return 0
    for name, text in (
        ("kind", module.kind),
        ("digest", module.digest),
        ("size", format_size(module.size)),
        *(("memory", text) for text in _memories(module)),
    ):
        print_line(f"{name:8}{text}")
    lacking = {id(wanted) for wanted, _ in module.missing}
    mark = "#" if isinstance(module, Component) else "."
    rows = [("export", extern.name, str(extern.type), "") for extern in module.exports]
    for imported in module.imports:
        name = f"{imported.module}{mark}{imported.name}".removeprefix("#")
        rows.append(("import", name, str(imported.type), "nobody" if id(imported) in lacking else "WASI"))
    if rows:
        print_line("")
        print_table(str(file), ("way", "name", "type", "offered by"), rows)
    return 0


async def load_module(config: Config, file: Path) -> Module:
    """Return the module in a file, compiled if it is not in the cache; no worker process is needed for that.

    Raises `Unreadable`, or `InvalidModule` when it is no module.
    """
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spin, f"compiling {file}")
        library = Library(config.modules, config.scheduler.engine, Metrics(), tasks)
        try:
            with unreadable(file):
                module = await library.load(file)
        finally:
            with anyio.CancelScope(shield=True):
                await library.close()
        tasks.cancel_scope.cancel()
    return module


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


def _report(module: Module) -> dict[str, object]:
    """Return the module as HTTP describes it."""
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
                "satisfied": all(wanted is not each for wanted, _ in module.missing),
            }
            for each in module.imports
        ],
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
