"""Reads the names of the types that a component's world imports, of which the engine says nothing.

Tools write a type that a world defines as an import of that very type: `(import "error" (type (eq 0)))`. Only names
are taken from here, to show types by them. What is not understood ends the reading, and costs no more than a name.
"""

from __future__ import annotations

from typing import Any, Final

from wasmq_worker.binary import DescribeError, Reader

_PREAMBLE_SIZE: Final = 8
_MAX_NODES: Final = 10_000
"""Types and names that one type may have to be shown by its name: what is made of shared parts is written out."""
_PRIMITIVES: Final = dict(
    zip(
        range(0x7F, 0x72, -1),
        ("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"),
        strict=True,
    )
)
_TYPE, _ALIAS, _IMPORT, _EXPORT = 7, 6, 10, 11
_TYPE_SORT: Final = 3


class _Unknown(Exception):
    """Raised at what this reader does not know, or need not."""


def type_names(wasm: bytes) -> list[tuple[str, Any]]:
    """Return the names of types that the component's own world imports, each with the type as it is described."""
    found: list[tuple[str, Any]] = []
    try:
        _Names(found).read(wasm)
    except (_Unknown, DescribeError, RecursionError):
        return found
    return found


class _Names:
    def __init__(self, found: list[tuple[str, Any]]) -> None:
        self._found = found
        # By index: the type and how many types and names it has; None for what is no value type.
        self._types: list[tuple[Any, int] | None] = []

    def read(self, wasm: bytes) -> None:
        reader = Reader(wasm, _PREAMBLE_SIZE, len(wasm))
        while reader.at < reader.end:
            kind = reader.byte()
            size = reader.unsigned()
            inside = Reader(wasm, reader.at, reader.at + size)
            reader.skip(size)
            if kind not in (_TYPE, _ALIAS, _IMPORT, _EXPORT):
                continue
            for _ in range(inside.count()):
                if kind == _TYPE:
                    self._types.append(self._definition(inside))
                elif kind == _ALIAS:
                    if _skip_alias(inside) == _TYPE_SORT:
                        self._types.append(None)
                elif kind == _IMPORT:
                    self._import(inside)
                else:
                    self._export(inside)

    def _import(self, reader: Reader) -> None:
        reader.byte()
        name = reader.name()
        bound = _skip_description(reader)
        if bound is None:
            return
        type_ = self._types[bound] if 0 <= bound < len(self._types) else None
        self._types.append(type_)
        if type_ is not None:
            self._found.append((name, type_[0]))

    def _export(self, reader: Reader) -> None:
        reader.byte()
        reader.name()
        sort = reader.byte()
        if sort == 0:
            reader.byte()
        index = reader.unsigned()
        if sort == _TYPE_SORT:
            self._types.append(self._types[index] if index < len(self._types) else None)
        if reader.byte() == 1:
            _skip_description(reader)

    def _definition(self, reader: Reader) -> tuple[Any, int] | None:
        word = reader.byte()
        if word in _PRIMITIVES:
            return _PRIMITIVES[word], 1
        match word:
            case 0x72:
                fields = [(reader.name(), self._value(reader)) for _ in range(reader.count())]
                return _made("record", fields, named=True)
            case 0x71:
                cases = []
                for _ in range(reader.count()):
                    cases.append((reader.name(), self._maybe(reader)))
                    reader.byte()
                return _made("variant", cases, named=True)
            case 0x70 | 0x6B:
                inner = self._value(reader)
                return None if inner is None else (["list" if word == 0x70 else "option", inner[0]], inner[1] + 1)
            case 0x6F:
                items = [("", self._value(reader)) for _ in range(reader.count())]
                made = _made("tuple", items, named=False)
                return None if made is None else (["tuple", [part for _, part in made[0][1]]], made[1])
            case 0x6E | 0x6D:
                names = [reader.name() for _ in range(reader.count())]
                return ["flags" if word == 0x6E else "enum", names, None], len(names) + 1
            case 0x6A:
                made = _made("result", [("", self._maybe(reader)), ("", self._maybe(reader))], named=False)
                return None if made is None else (["result", *[part for _, part in made[0][1]]], made[1])
            case 0x69 | 0x68:
                reader.unsigned()
            case 0x40:
                for _ in range(reader.count()):
                    reader.name()
                    self._value(reader)
                if reader.byte() == 0:
                    self._value(reader)
                else:
                    reader.byte()
            case 0x42 | 0x41:
                _Inner().skip(reader)
            case 0x3F:
                reader.byte()
                if reader.byte() == 1:
                    reader.unsigned()
            case _:
                raise _Unknown
        return None

    def _value(self, reader: Reader) -> tuple[Any, int] | None:
        if (word := reader.peek()) in _PRIMITIVES:
            reader.byte()
            return _PRIMITIVES[word], 1
        index = reader.unsigned()
        return self._types[index] if index < len(self._types) else None

    def _maybe(self, reader: Reader) -> tuple[Any, int] | None:
        return self._value(reader) if reader.byte() == 1 else (None, 0)


class _Inner(_Names):
    """Skips the declarations of a component's or an instance's type: what it names is its own."""

    def __init__(self) -> None:
        super().__init__([])

    def skip(self, reader: Reader) -> None:
        """Read past the declarations."""
        for _ in range(reader.count()):
            match reader.byte():
                case 1:
                    self._definition(reader)
                case 2:
                    _skip_alias(reader)
                case 3 | 4:
                    reader.byte()
                    reader.name()
                    _skip_description(reader)
                case _:
                    raise _Unknown


def _made(word: str, parts: list[tuple[str, tuple[Any, int] | None]], *, named: bool) -> tuple[Any, int] | None:
    known = [(name, part) for name, part in parts if part is not None]
    nodes = 1 + sum([1 + part[1] for _, part in known])
    if len(known) < len(parts) or nodes > _MAX_NODES:
        return None
    return [word, [[name, part[0]] for name, part in known], *([None] if named else [])], nodes


def _skip_alias(reader: Reader) -> int:
    """Read past an alias, and return the sort of what it is for."""
    sort = reader.byte()
    if sort == 0:
        sort = -reader.byte()
    if reader.byte() == 2:
        reader.unsigned()
        reader.unsigned()
    else:
        reader.unsigned()
        reader.name()
    return sort


def _skip_description(reader: Reader) -> int | None:
    """Read past the type of an import or export; return the index of a type that it is equal to, -1 for a resource."""
    sort = reader.byte()
    if sort == 0:
        reader.byte()
    elif sort == _TYPE_SORT:
        if reader.byte() == 0:
            return reader.unsigned()
        return -1
    elif sort not in (1, 4, 5):
        raise _Unknown
    reader.unsigned()
    return None
