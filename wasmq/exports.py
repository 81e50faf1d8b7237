"""Which export a name stands for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasmq.errors import UnknownExport
from wasmq.types import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wasmq.types import Extern

__all__ = ["listed", "resolve_component"]


def resolve_component(functions: Mapping[str, Any], exports: Iterable[Extern], export: str) -> str:
    """Return the full name of a component's function, given that or its last part if no other has it.

    Raises `UnknownExport` naming what there is instead.
    """
    if export in functions:
        return export
    found = [name for name in functions if name.rpartition("#")[2] == export]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownExport(f"export {printable(export)!r} is in several instances: {listed(found)}")
    for extern in exports:
        if extern.name == export:
            raise UnknownExport(f"export {printable(export)!r} is not a function: {extern}")
    raise UnknownExport(f"no export {printable(export)!r}; the component's functions: {listed(functions)}")


def listed(names: Iterable[str]) -> str:
    """Return a few names for an error's line."""
    return ", ".join([printable(name, 80) for name in list(names)[:8]]) or "none"
