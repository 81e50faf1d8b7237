"""What a module exports and imports: names and types, shown the way WebAssembly text writes them.

The structs are also the form in which a module's description comes out of the process that read it, an array whose
first element says which type it is. That process had a guest's bytes in its hands, so decoding checks all of it.
Names are the guest's own and may hold anything: show them through `printable`.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from wasmq import wit
from wasmq.printing import printable
from wasmq_worker.protocol import Reference

__all__ = [
    "COMMAND",
    "INITIALISE",
    "Extern",
    "ExternType",
    "FunctionType",
    "GlobalType",
    "Import",
    "MemoryType",
    "TableType",
    "TagType",
    "is_value",
    "printable",
]

COMMAND = "_start"
"""What a WASI command exports to be run."""
INITIALISE = "_initialize"
"""What a WASI reactor exports to be called once, before anything else."""

NUMBERS = frozenset({"i32", "i64", "f32", "f64", "v128"})
PASSABLE = NUMBERS | {
    *("funcref", "nullfuncref", "externref", "nullexternref", "anyref", "eqref", "i31ref", "structref", "arrayref"),
    *("nullref", "exnref", "nullexnref"),
}
"""Value types that a call can carry in; of the references, only null."""
_SHOWN_VALUES = 100

_ValueType: TypeAlias = Annotated[str, Meta(pattern=r"\A([a-z][a-z0-9]{2,15}|\(ref (null )?[a-z0-9]{1,10}\))\Z")]
_ValueTypes: TypeAlias = Annotated[tuple[_ValueType, ...], Meta(max_length=1_000)]
_Name: TypeAlias = Annotated[str, Meta(max_length=100_000)]
_Size: TypeAlias = Annotated[int, Meta(ge=0)]
_PageSize: TypeAlias = Annotated[int, Meta(ge=1, le=65_536)]


class _Type(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    pass


class FunctionType(_Type, frozen=True, tag="func"):
    """A function's parameters and results as value types: "i32", "i64", "f32", "f64", "v128", "funcref", "(ref 3)"."""

    params: _ValueTypes
    results: _ValueTypes

    def __str__(self) -> str:
        return f"(func{_clause('param', self.params)}{_clause('result', self.results)})"


class MemoryType(_Type, frozen=True, tag="memory"):
    """A linear memory. `minimum` and `maximum` are in pages of `page_size` bytes; `memory64` has 64-bit addresses."""

    minimum: _Size
    maximum: _Size | None
    memory64: bool
    shared: bool
    page_size: _PageSize

    def __str__(self) -> str:
        shared = " shared" if self.shared else ""
        pages = f" (pagesize {self.page_size})" if self.page_size != 65_536 else ""
        return f"(memory {_limits(self.minimum, self.maximum, self.memory64)}{shared}{pages})"


class TableType(_Type, frozen=True, tag="table"):
    """A table of references. `minimum` and `maximum` are in elements; `table64` has 64-bit indices."""

    element: _ValueType
    minimum: _Size
    maximum: _Size | None
    table64: bool

    def __str__(self) -> str:
        return f"(table {_limits(self.minimum, self.maximum, self.table64)} {self.element})"


class GlobalType(_Type, frozen=True, tag="global"):
    """A global's value type, and whether it can change."""

    value: _ValueType
    mutable: bool

    def __str__(self) -> str:
        return f"(global (mut {self.value}))" if self.mutable else f"(global {self.value})"


class TagType(_Type, frozen=True, tag="tag"):
    """What an exception with this tag carries."""

    params: _ValueTypes

    def __str__(self) -> str:
        return f"(tag{_clause('param', self.params)})"


ExternType: TypeAlias = FunctionType | MemoryType | TableType | GlobalType | TagType | wit.Item
"""The type of anything that can be exported or imported."""


class Extern(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One export: its name, unique among the module's exports, and its type."""

    name: _Name
    type: ExternType

    def __str__(self) -> str:
        if isinstance(self.type, wit.Item):
            return wit.shown(printable(self.name), self.type)
        return f"(export {_quoted(self.name)} {self.type})"


class Import(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One import: the two names by which the module asks for it, and the type it must have.

    A component asks by the name of an interface, "" for what is in none, and a name in it.
    """

    module: _Name
    name: _Name
    type: ExternType

    def __str__(self) -> str:
        if isinstance(self.type, wit.Item):
            return wit.shown(f"{printable(self.module)}#{printable(self.name)}".lstrip("#"), self.type)
        return f"(import {_quoted(self.module)} {_quoted(self.name)} {self.type})"


def is_value(kind: str, value: object) -> bool:
    """Return whether a value is one of a core type, as workers send them: integers signed, a v128 as 16 bytes."""
    match kind:
        case "i32":
            return type(value) is int and -(2**31) <= value < 2**31
        case "i64":
            return type(value) is int and -(2**63) <= value < 2**63
        case "f32" | "f64":
            return type(value) is float
        case "v128":
            return type(value) is bytes and len(value) == 16
        case _:
            return value is None or isinstance(value, Reference)


def _quoted(name: str) -> str:
    return '"' + printable(name).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _clause(keyword: str, values: tuple[str, ...]) -> str:
    if not values:
        return ""
    more = f" ... {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else ""
    return f" ({keyword} {' '.join(values[:_SHOWN_VALUES])}{more})"


def _limits(minimum: int, maximum: int | None, wide: bool) -> str:
    return f"{'i64 ' if wide else ''}{minimum}{'' if maximum is None else f' {maximum}'}"
