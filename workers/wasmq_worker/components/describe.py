"""Reads what a component exports and imports from the engine that compiled it, as plain data that `wasmq.wit` names.

A value type is a word ("u32") or an array whose first item says what it is: `["record", fields, name]`. The engine
knows types by structure only; a record, variant, enum or flags gets the name under which the interface or the world
around it exports a type of that structure. What one interface takes over from another is known there by its own name.

The engine hands out a copy of each part of a type, so a small component may describe an exponentially large type:
what is read is counted, and beyond a bound the component is refused.
"""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_size_t, c_uint8, c_void_p
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from wasmq_worker import capi

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NODES: Final = 100_000
"""Types, fields, cases and names that all exports and imports may have together."""
MAX_DEPTH: Final = 40
"""How deep a type may be nested."""
MAX_TEXT: Final = 2 * 2**20
"""Bytes that all names may have together."""

WitType: TypeAlias = Any
_Item: TypeAlias = list[Any]

_WORDS: Final = ("bool", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64", "f32", "f64", "char", "string")
# By wasmtime's own numbers (wasmtime/component/types/val.h), from 13 on.
_KINDS: Final = ("list", "record", "tuple", "variant", "enum", "option", "result", "flags", "own", "borrow")
_ASYNC_KINDS: Final = ("future", "stream", "error-context", "map")
_COMPONENT, _INSTANCE, _MODULE, _FUNC, _RESOURCE, _CORE_FUNC, _TYPE = range(7)
_OTHERS: Final = {_COMPONENT: "component", _MODULE: "core module", _CORE_FUNC: "core function"}


class TypesTooLarge(Exception):
    """Raised when the types of a component are more, deeper or longer than is read; the message is one line."""


class _ValType(ctypes.Structure):
    _fields_ = (("kind", c_uint8), ("of", c_void_p))
    kind: int
    of: int | None


class _ItemUnion(ctypes.Union):
    _fields_ = (("pointer", c_void_p), ("type", _ValType))
    pointer: int | None
    type: _ValType


class _ItemType(ctypes.Structure):
    _fields_ = (("kind", c_uint8), ("of", _ItemUnion))
    kind: int
    of: _ItemUnion


def describe_types(
    engine: int, component: int, names: Iterable[tuple[str, WitType]] = ()
) -> tuple[list[_Item], list[_Item]]:
    """Return a component's exports, `[name, type]` each, and its imports, `[interface, name, type]` each.

    What an instance exports is listed as `instance#name`. An import outside any interface has the interface "".
    `names` are those of types around the interfaces that the engine does not tell. Raises `TypesTooLarge`.
    """
    return _Describer(engine).described(component, names)


class _Scope:
    """Names that types have in an interface and in the world around it."""

    def __init__(self, outer: _Scope | None = None) -> None:
        self._names: dict[str, str] = {}
        self._outer = outer

    def enter(self, name: str, shape: WitType) -> None:
        self._names.setdefault(repr(shape), name)

    def name_of(self, shape: WitType) -> str | None:
        name = self._names.get(repr(shape))
        return self._outer.name_of(shape) if name is None and self._outer is not None else name


class _Describer:
    def __init__(self, engine: int) -> None:
        self._engine = engine
        self._nodes = 0
        self._text = 0
        # Resource types in the order in which they appear: the pointer, and the name where it was seen first.
        self._resources: list[tuple[int, str]] = []

    def described(self, component: int, names: Iterable[tuple[str, WitType]]) -> tuple[list[_Item], list[_Item]]:
        type_ = capi.component_type(component)
        try:
            world = _Scope()
            for name, shape in names:
                world.enter(name, shape)
            imports = self._externs("imports", type_)
            exports = self._externs("exports", type_)
            # A world's own types may be imported or exported, by what they are made of.
            for name, _, read in (*imports, *exports):
                if read[0] == "wit-type":
                    world.enter(name, read[1])
            return self._exports(exports, world), self._imports(imports, world)
        finally:
            for pointer, _ in self._resources:
                capi.resource_type_delete(pointer)
            self._resources = []
            capi.component_free["component"](type_)

    def _exports(self, externs: list[tuple[str, None, _Item]], world: _Scope) -> list[_Item]:
        found: list[_Item] = []
        for name, _, item in externs:
            if item[0] != "instance":
                found.append([name, _named(item, world)])
                continue
            scope = _scope(item[1], world)
            found += [[f"{name}#{inner}", _named(part, scope)] for inner, _, part in item[1]]
        return found

    def _imports(self, externs: list[tuple[str, None, _Item]], world: _Scope) -> list[_Item]:
        found: list[_Item] = []
        for name, _, item in externs:
            if item[0] == "instance":
                scope = _scope(item[1], world)
                found += [[name, inner, _named(part, scope)] for inner, _, part in item[1] if part[0] != "wit-type"]
            elif item[0] != "wit-type":
                found.append(["", name, _named(item, world)])
        return found

    def _externs(self, way: str, type_: int, prefix: str = "") -> list[tuple[str, None, _Item]]:
        count = capi.component_count[way](type_, self._engine)
        found = []
        name, length, extern = c_void_p(), c_size_t(), c_void_p()
        for place in range(count):
            capi.component_nth[way](
                type_,
                self._engine,
                place,
                ctypes.addressof(name),
                ctypes.addressof(length),
                ctypes.addressof(extern),
            )
            text = self._name(name, length)
            pointer = extern.value or 0
            item = _ItemType()
            try:
                capi.extern_type(pointer, ctypes.addressof(item))
            finally:
                capi.extern_delete(pointer)
            found.append((text, None, self._item(item, prefix + text)))
        return found

    def _item(self, item: _ItemType, name: str) -> _Item:
        pointer = item.of.pointer or 0
        if item.kind == _RESOURCE:
            return ["wit-resource", self._resource(pointer, name)]
        try:
            if item.kind == _FUNC:
                return self._function(pointer)
            if item.kind == _INSTANCE:
                if "/" in name and name.count("#"):
                    return ["wit-other", "instance"]
                return ["instance", self._externs("instance", pointer, f"{name}#")]
            if item.kind == _TYPE:
                return ["wit-type", self._shape(item.of.type, 0)]
            self._count(1)
            return ["wit-other", _OTHERS.get(item.kind, "item")]
        finally:
            capi.item_delete(ctypes.addressof(item))

    def _resource(self, pointer: int, name: str) -> str:
        """Keep a resource type, and return where it was seen first."""
        self._count(1)
        for known, first in self._resources:
            if capi.resource_type_equal(known, pointer):
                capi.resource_type_delete(pointer)
                return first
        self._resources.append((pointer, name))
        return name

    def _function(self, pointer: int) -> _Item:
        params = []
        name, length = c_void_p(), c_size_t()
        for place in range(capi.component_count["func"](pointer)):
            inner = _ValType()
            capi.component_nth["func"](
                pointer, place, ctypes.addressof(name), ctypes.addressof(length), ctypes.addressof(inner)
            )
            params.append([self._name(name, length), self._take(inner, 0)])
        return ["wit-func", params, self._maybe("result", pointer, 0), bool(capi.function_is_async(pointer))]

    def _take(self, type_: _ValType, depth: int) -> WitType:
        try:
            return self._shape(type_, depth)
        finally:
            capi.valtype_delete(ctypes.addressof(type_))

    def _shape(self, type_: _ValType, depth: int) -> WitType:
        """Return a value type; its owner frees it."""
        self._count(1)
        kind = type_.kind
        if kind < len(_WORDS):
            return _WORDS[kind]
        if depth >= MAX_DEPTH:
            raise TypesTooLarge(f"it has a type nested deeper than {MAX_DEPTH}")
        pointer = type_.of or 0
        kind -= len(_WORDS)
        if kind >= len(_KINDS):
            return ["other", _other(kind - len(_KINDS))]
        word = _KINDS[kind]
        match word:
            case "list" | "option":
                inner = _ValType()
                capi.component_inner[word](pointer, ctypes.addressof(inner))
                return [word, self._take(inner, depth + 1)]
            case "result":
                return [word, self._maybe("ok", pointer, depth + 1), self._maybe("err", pointer, depth + 1)]
            case "own" | "borrow":
                return [word, self._resource_name(pointer)]
        return [word, self._parts(word, pointer, depth + 1), *([] if word == "tuple" else [None])]

    def _parts(self, word: str, pointer: int, depth: int) -> list[Any]:
        count, nth = capi.component_count[word](pointer), capi.component_nth[word]
        self._count(count)
        parts: list[Any] = []
        name, length, has = c_void_p(), c_size_t(), c_bool()
        name_at, length_at, has_at = ctypes.addressof(name), ctypes.addressof(length), ctypes.addressof(has)
        for place in range(count):
            inner = _ValType()
            inner_at = ctypes.addressof(inner)
            match word:
                case "tuple":
                    nth(pointer, place, inner_at)
                    parts.append(self._take(inner, depth))
                case "record":
                    nth(pointer, place, name_at, length_at, inner_at)
                    parts.append([self._name(name, length), self._take(inner, depth)])
                case "variant":
                    nth(pointer, place, name_at, length_at, has_at, inner_at)
                    text = self._name(name, length)
                    parts.append([text, self._take(inner, depth) if has.value else None])
                case _:
                    nth(pointer, place, name_at, length_at)
                    parts.append(self._name(name, length))
        return parts

    def _maybe(self, which: str, pointer: int, depth: int) -> WitType | None:
        inner = _ValType()
        if not capi.component_inner[which](pointer, ctypes.addressof(inner)):
            return None
        return self._take(inner, depth)

    def _resource_name(self, pointer: int) -> str:
        """Return where a handle's resource was seen first; the handle's type stays its owner's."""
        for known, first in self._resources:
            if capi.resource_type_equal(known, pointer):
                return first
        return "?"

    def _name(self, pointer: c_void_p, length: c_size_t) -> str:
        self._count(1)
        self._text += length.value
        if self._text > MAX_TEXT:
            raise TypesTooLarge(f"its names are longer than {MAX_TEXT} bytes together")
        return ctypes.string_at(pointer.value or 0, length.value).decode("utf-8", "replace") if length.value else ""

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise TypesTooLarge(f"its exports and imports have more than {MAX_NODES} types and names")


def _other(kind: int) -> str:
    return _ASYNC_KINDS[kind] if kind < len(_ASYNC_KINDS) else "unknown"


def _scope(items: list[tuple[str, None, _Item]], world: _Scope) -> _Scope:
    scope = _Scope(world)
    for name, _, item in items:
        if item[0] == "wit-type":
            scope.enter(name, item[1])
    return scope


def _named(item: _Item, scope: _Scope) -> _Item:
    """Return an item with the names of its types filled in, and resources by the last part of their names."""
    match item[0]:
        case "wit-func":
            params = [[name, _with_names(type_, scope)] for name, type_ in item[1]]
            return ["wit-func", params, _with_names(item[2], scope), item[3]]
        case "wit-type":
            return ["wit-type", _with_names(item[1], scope, top=True)]
        case "wit-resource":
            return ["wit-resource", item[1].rpartition("#")[2]]
        case "instance":
            return ["wit-other", "instance"]
    return item


def _with_names(type_: WitType, scope: _Scope, *, top: bool = False) -> WitType:
    if type_ is None or isinstance(type_, str):
        return type_
    word = type_[0]
    match word:
        case "list" | "option":
            return [word, _with_names(type_[1], scope)]
        case "result":
            return [word, _with_names(type_[1], scope), _with_names(type_[2], scope)]
        case "own" | "borrow":
            return [word, type_[1].rpartition("#")[2]]
        case "tuple":
            return [word, [_with_names(part, scope) for part in type_[1]]]
        case "record" | "variant":
            parts = [[name, _with_names(part, scope)] for name, part in type_[1]]
        case "enum" | "flags":
            parts = type_[1]
        case _:
            return type_
    return [word, parts, None if top else scope.name_of(type_)]
