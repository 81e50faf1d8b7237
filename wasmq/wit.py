"""WIT types: what a component's functions take and return, shown the way WIT writes them.

A value type is a word such as "u32" or one of the structs here. Like those in `wasmq.types` they are also the form in
which a component's description comes out of the process that read it, so decoding checks all of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from wasmq.printing import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Borrow",
    "Case",
    "Definition",
    "Enum",
    "Field",
    "Flags",
    "Func",
    "Item",
    "List",
    "Named",
    "Option",
    "Other",
    "OtherItem",
    "Own",
    "Primitive",
    "Record",
    "Resource",
    "Result",
    "Tuple",
    "ValueType",
    "Variant",
    "check_size",
    "is_command",
    "obstacle",
    "shown",
]

MAX_NODES = 200_000
"""Types, fields, cases and names that one item may have."""
MAX_DEPTH = 50

_Label: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z][A-Za-z0-9-]*\Z", max_length=10_000)]
_Name: TypeAlias = Annotated[str, Meta(max_length=100_000)]

Primitive: TypeAlias = Literal[
    "bool", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64", "f32", "f64", "char", "string"
]


class _Type(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    pass


class List(_Type, frozen=True, tag="list"):
    """Any number of values of one type."""

    element: ValueType

    def __str__(self) -> str:
        return f"list<{self.element}>"


class Option(_Type, frozen=True, tag="option"):
    """A value or none."""

    some: ValueType

    def __str__(self) -> str:
        return f"option<{self.some}>"


class Result(_Type, frozen=True, tag="result"):
    """How something went; None for what carries no value."""

    ok: ValueType | None
    err: ValueType | None

    def __str__(self) -> str:
        if self.err is None:
            return "result" if self.ok is None else f"result<{self.ok}>"
        return f"result<{'_' if self.ok is None else self.ok}, {self.err}>"


class Tuple(_Type, frozen=True, tag="tuple"):
    """A fixed number of values, each of its own type."""

    items: tuple[ValueType, ...]

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.items))}>"


class Field(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A field of a record, or a parameter."""

    name: _Label
    type: ValueType

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"


class Case(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A case of a variant; `type` is None when it carries no value."""

    name: _Label
    type: ValueType | None

    def __str__(self) -> str:
        return self.name if self.type is None else f"{self.name}({self.type})"


class _NamedType(_Type, frozen=True):
    def definition(self) -> str:
        """Return the type written out."""
        raise NotImplementedError

    def __str__(self) -> str:
        name: str | None = getattr(self, "name", None)
        return self.definition() if name is None else name


class Record(_NamedType, frozen=True, tag="record"):
    """Fields by name. `name` is the type's own, None where it is not known."""

    fields: tuple[Field, ...]
    name: _Label | None

    def definition(self) -> str:
        """See `_NamedType`."""
        return f"record {{ {', '.join(map(str, self.fields))} }}"


class Variant(_NamedType, frozen=True, tag="variant"):
    """One of several cases, which may carry a value."""

    cases: tuple[Case, ...]
    name: _Label | None

    def definition(self) -> str:
        """See `_NamedType`."""
        return f"variant {{ {', '.join(map(str, self.cases))} }}"


class Enum(_NamedType, frozen=True, tag="enum"):
    """One of several names."""

    names: tuple[_Label, ...]
    name: _Label | None

    def definition(self) -> str:
        """See `_NamedType`."""
        return f"enum {{ {', '.join(self.names)} }}"


class Flags(_NamedType, frozen=True, tag="flags"):
    """Any of several names."""

    names: tuple[_Label, ...]
    name: _Label | None

    def definition(self) -> str:
        """See `_NamedType`."""
        return f"flags {{ {', '.join(self.names)} }}"


class Own(_Type, frozen=True, tag="own"):
    """A handle to a resource, given away."""

    resource: _Name

    def __str__(self) -> str:
        return printable(self.resource)


class Borrow(_Type, frozen=True, tag="borrow"):
    """A handle to a resource, lent for a call."""

    resource: _Name

    def __str__(self) -> str:
        return f"borrow<{printable(self.resource)}>"


class Other(_Type, frozen=True, tag="other"):
    """A type that no call can carry: "stream", "future", "error-context", "map"."""

    kind: _Name

    def __str__(self) -> str:
        return printable(self.kind)


Named: TypeAlias = Record | Variant | Enum | Flags
"""The types that have a name of their own."""
ValueType: TypeAlias = (
    Primitive | List | Option | Result | Tuple | Record | Variant | Enum | Flags | Own | Borrow | Other
)
"""The type of one value."""


class Func(_Type, frozen=True, tag="wit-func"):
    """A function's parameters and result; `result` is None when it returns nothing."""

    params: tuple[Field, ...]
    result: ValueType | None
    asynchronous: bool

    def __str__(self) -> str:
        result = "" if self.result is None else f" -> {self.result}"
        return f"{'async ' if self.asynchronous else ''}func({', '.join(map(str, self.params))}){result}"


class Definition(_Type, frozen=True, tag="wit-type"):
    """A type that is exported under a name."""

    of: ValueType

    def __str__(self) -> str:
        return self.of.definition() if isinstance(self.of, _NamedType) else f"type {self.of}"


class Resource(_Type, frozen=True, tag="wit-resource"):
    """A resource type, by the name that it was given where it appeared first."""

    name: _Name

    def __str__(self) -> str:
        return "resource"


class OtherItem(_Type, frozen=True, tag="wit-other"):
    """Something that is exported or imported whole: "component", "core module", "instance"."""

    kind: _Name

    def __str__(self) -> str:
        return printable(self.kind)


Item: TypeAlias = Func | Definition | Resource | OtherItem
"""What a component can export or import under a name."""


def shown(name: str, item: Item) -> str:
    """Return an item with its name as WIT writes it: `greet: func(name: string) -> string`, `record error { … }`."""
    match item:
        case Definition():
            if not isinstance(item.of, _NamedType):
                return f"type {name} = {item.of}"
            word, _, rest = item.of.definition().partition(" ")
            return f"{word} {name} {rest}"
        case Resource():
            return f"resource {name}"
        case OtherItem():
            return f"{name}: {item}"
    return f"{name}: {item}"


def _parts(of: object) -> Iterator[object]:
    match of:
        case List():
            yield of.element
        case Option():
            yield of.some
        case Result():
            yield of.ok
            yield of.err
        case Tuple():
            yield from of.items
        case Record():
            yield from of.fields
        case Variant():
            yield from of.cases
        case Enum() | Flags():
            yield from of.names
        case Func():
            yield from of.params
            yield of.result
        case Field() | Case():
            yield of.type
        case Definition():
            yield of.of


def is_command(export: str) -> bool:
    """Return whether an export is what runs a component as a WASI command."""
    return _COMMAND.fullmatch(export) is not None


_COMMAND = re.compile(r"wasi:cli/run@0\.2\.[0-9]+#run")


def check_size(of: Item) -> None:
    """Raise `ValueError` for a type that is larger or deeper than a compile process may describe."""
    nodes = 0
    level: list[object] = [of]
    for _ in range(2 * MAX_DEPTH):
        level = [part for each in level for part in _parts(each) if part is not None]
        nodes += len(level)
        if nodes > MAX_NODES:
            break
        if not level:
            return
    raise ValueError("a type is too large or too deep")


def obstacle(function: Func) -> str | None:
    """Return why a function cannot be called by a job, in words, or None when it can."""
    if function.asynchronous:
        return "asynchronous functions (WASI p3) are not supported"
    level: list[object] = [function]
    while level:
        for each in level:
            if isinstance(each, (Own, Borrow)):
                return f"resources ({printable(each.resource)}) cannot be passed to or from a job"
            if isinstance(each, Other):
                return f"a {each} cannot be passed to or from a job"
        level = [part for each in level for part in _parts(each)]
    return None
