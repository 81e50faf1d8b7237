"""What the scheduler must know about a module, read from the sections of its binary.

The engine has validated the bytes before; all the same nothing is believed that would cost more than the bytes
themselves: every read ends with its section, a count is checked against the bytes that are left, and function bodies
are skipped whole. wasmtime's own listing of a module's types is no help: it ends the process at a v128.

A description is plain data. An extern is `[name, type]`, an import `[module, name, type]`, and a type is one of
`["func", params, results]`, `["memory", minimum, maximum, memory64, shared, page size]`,
`["table", element, minimum, maximum, table64]`, `["global", value, mutable]` and `["tag", params]`.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from wasmq_worker.binary import HEAPS, DescribeError, Reader
from wasmq_worker.protocol import Described
from wasmq_worker.wasi import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wasmq_worker.binary import Type

__all__ = ["DescribeError", "describe"]

HEAVY_DATA: Final = 256 * 2**10
"""Bytes of active data segments above which a growable exported memory is pooled all the same: copying that much into
each fresh instance would cost more than exact accounting of its growth is worth."""
MAX_DESCRIPTION: Final = 500_000
"""Exports, imports and the value types in their signatures: a few bytes can name a signature of 2 000 value types."""
POOLED_TABLES: Final = 8
POOLED_TABLE_ELEMENTS: Final = 100_000
POOLED_MEMORY: Final = 4 * 2**30
"""Bytes, and like the two above what one slot of the engine's pool has room for: it cannot map a module that needs
more, not even to say so to the one job."""
POOLED_ITEMS: Final = 150_000
"""Functions and globals, at 16 to 48 bytes each, that fit the pool's record of an instance for certain."""
ITEM: Final = 48
"""Bytes at most that one function or global takes in the engine's record of an instance."""
ELEMENT: Final = 8
"""Bytes of one element of a table."""
_MEMORY_MAX: Final = 2**63 - 1

_PREAMBLE: Final = b"\0asm\x01\0\0\0"
_CUSTOM, _TYPE, _IMPORT, _FUNCTION, _TABLE, _MEMORY, _GLOBAL, _EXPORT, _START, _ELEMENT, _CODE, _DATA = range(12)
_COUNT, _TAG = 12, 13
# An index may be written longer than it need be: all of these bytes mean memory 0.
_MEMORY_GROW: Final = re.compile(rb"\x40\x80{0,4}\x00")

_REC, _SUB, _SUB_FINAL, _FUNC, _STRUCT, _ARRAY = 0x4E, 0x50, 0x4F, 0x60, 0x5F, 0x5E
_PACKED: Final = (0x78, 0x77)
# Outside a function's locals, one of these takes the garbage collector's heap, of which the pool has none to give.
_COLLECTED: Final = frozenset(
    text
    for heap, shorthand in HEAPS.values()
    if heap not in ("func", "nofunc")
    for text in (shorthand, f"(ref {heap})")
)


def describe(wasm: bytes) -> Described:
    """Return what a validated module exports, imports and needs.

    `memory` is the sum of the minimum sizes of the memories it defines, in bytes, and never above 2⁶³-1. `counted` says
    that the engine's pool is not for this module: it may grow a memory that nothing but our own count would show, or
    it needs something of which the pool has too little. `exported_memory` is the place among the exports of the one
    memory of a module with exactly one, or -1.

    Raises `DescribeError`.
    """
    return _Module(wasm).described()


def table_bytes(tables: Iterable[Type]) -> int:
    """Return the bytes that tables of these types come to when they have grown as far as they may."""
    most = [POOLED_TABLE_ELEMENTS if table[3] is None else min(table[3], POOLED_TABLE_ELEMENTS) for table in tables]
    return ELEMENT * sum(most)


def _offer(module: str, name: str) -> list[Any] | None:
    """Return the type of the WASI function that an import asks for by name, None where there is none."""
    function = FUNCTIONS.get(name) if module == "wasi_snapshot_preview1" else None
    return None if function is None else ["func", function[0], function[1]]


class _Module:
    """A module's sections, and what was read from them so far."""

    def __init__(self, wasm: bytes) -> None:
        self._wasm = wasm
        self._types: list[tuple[tuple[str, ...], tuple[str, ...]] | None] = []  # None for a struct or an array
        self._functions: list[int] = []
        self._tables: list[Type] = []
        self._memories: list[Type] = []
        self._globals: list[Type] = []
        self._tags: list[Type] = []
        self._imported_memories = 0
        self._memory_place = -1  # of memory 0 among the exports
        self._described = 0
        self._collected = False  # by the garbage collector: whether there is something for it
        self._sections = self._find_sections()

    def described(self) -> Described:
        self._each(_TYPE, self._read_type)
        imports: list[Any] = []
        self._each(_IMPORT, lambda reader: imports.append(self._read_import(reader)))
        self._imported_memories = len(self._memories)
        self._each(_FUNCTION, lambda reader: self._functions.append(reader.unsigned()))
        self._each(_TABLE, self._read_table)
        self._each(_MEMORY, lambda reader: self._memories.append(reader.memory_type()))
        self._each(_TAG, self._read_tag)
        self._each(_GLOBAL, self._read_global)
        exports: list[Any] = []
        self._each(_EXPORT, lambda reader: exports.append(self._read_export(reader, len(exports))))
        self._each(_ELEMENT, self._read_element)
        alone = len(self._memories) == 1 and not self._imported_memories
        exported_memory = self._memory_place if alone else -1
        defined = self._memories[self._imported_memories :]
        counted = not self._poolable(exported_memory >= 0)
        return Described(
            hashlib.sha256(self._wasm).hexdigest(),
            exports,
            imports,
            [_offer(module, name) for module, name, _ in imports],
            counted,
            _START in self._sections,
            min(sum([memory[1] * memory[5] for memory in defined]), _MEMORY_MAX),
            exported_memory,
            growing=counted or (any(memory[1] != memory[2] for memory in defined) and self._may_grow()),
            record=table_bytes(self._tables) + ITEM * (len(self._functions) + len(self._globals)),
        )

    def _find_sections(self) -> dict[int, Reader]:
        wasm = self._wasm
        if not wasm.startswith(_PREAMBLE):
            raise DescribeError("not a core module at byte 0")
        sections: dict[int, Reader] = {}
        reader = Reader(wasm, len(_PREAMBLE), len(wasm))
        while reader.at < reader.end:
            start = reader.at
            kind = reader.byte()
            size = reader.unsigned()
            content = reader.at
            reader.skip(size)
            if kind == _CUSTOM:
                continue
            if kind > _TAG or kind in sections:
                raise reader.fail(f"section {kind} is unknown or there twice", start)
            sections[kind] = Reader(wasm, content, reader.at)
        return sections

    def _each(self, kind: int, read: Callable[[Reader], object]) -> None:
        """Read a section that is a list, and see that it ends where it said."""
        reader = self._sections.get(kind)
        if reader is None:
            return
        for _ in range(reader.count()):
            read(reader)
        if reader.at != reader.end:
            raise reader.fail(f"section {kind} ends early")

    def _read_type(self, reader: Reader) -> None:
        if reader.peek() == _REC:
            reader.at += 1
            for _ in range(reader.count()):
                self._read_sub_type(reader)
        else:
            self._read_sub_type(reader)

    def _read_sub_type(self, reader: Reader) -> None:
        start = reader.at
        code = reader.byte()
        if code in (_SUB, _SUB_FINAL):
            reader.skip_lebs(reader.count())
            start = reader.at
            code = reader.byte()
        if code == _FUNC:
            self._types.append((reader.value_types(), reader.value_types()))
        elif code in (_STRUCT, _ARRAY):
            for _ in range(reader.count() if code == _STRUCT else 1):
                if reader.peek() in _PACKED:
                    reader.at += 1
                else:
                    reader.value_type()
                reader.byte()
            self._types.append(None)
            self._collected = True
        else:
            raise reader.fail(f"unknown type {code:#04x}", start)

    def _read_import(self, reader: Reader) -> list[Any]:
        module, name = reader.name(), reader.name()
        start = reader.at
        match reader.byte():
            case 0:
                index = reader.unsigned()
                self._functions.append(index)
                type_ = self._function_type(index, reader)
            case 1:
                type_ = self._add_table(reader)
            case 2:
                type_ = reader.memory_type()
                self._memories.append(type_)
            case 3:
                type_ = self._add_global(reader)
            case 4:
                type_ = self._read_tag(reader)
            case kind:
                raise reader.fail(f"unknown kind of import {kind:#04x}", start)
        self._account(type_, reader)
        return [module, name, type_]

    def _read_export(self, reader: Reader, place: int) -> list[Any]:
        name = reader.name()
        start = reader.at
        kind, index = reader.byte(), reader.unsigned()
        kinds: tuple[list[Any], ...] = (self._functions, self._tables, self._memories, self._globals, self._tags)
        if kind >= len(kinds) or index >= len(kinds[kind]):
            raise reader.fail("an export of nothing", start)
        type_ = kinds[kind][index]
        if kind == 0:
            type_ = self._function_type(type_, reader)
        elif kind == 2 and index == 0 and self._memory_place < 0:
            self._memory_place = place
        self._account(type_, reader)
        return [name, type_]

    def _function_type(self, index: int, reader: Reader) -> Type:
        found = self._types[index] if index < len(self._types) else None
        if found is None:
            raise reader.fail(f"type {index} is not a function type")
        return ["func", *found]

    def _account(self, type_: Type, reader: Reader) -> None:
        self._described += 1 + sum([len(part) for part in type_ if isinstance(part, tuple)])
        if self._described > MAX_DESCRIPTION:
            raise reader.fail(f"exports and imports of more than {MAX_DESCRIPTION} names and value types")

    def _read_table(self, reader: Reader) -> None:
        initialised = reader.data.startswith(b"\x40\x00", reader.at, reader.end)
        if initialised:
            reader.at += 2
        self._add_table(reader)
        if initialised:
            reader.skip_expression()

    def _add_table(self, reader: Reader) -> Type:
        type_ = reader.table_type()
        self._tables.append(type_)
        self._note_reference(type_[1])
        return type_

    def _read_global(self, reader: Reader) -> None:
        self._add_global(reader)
        reader.skip_expression()

    def _add_global(self, reader: Reader) -> Type:
        type_ = reader.global_type()
        self._globals.append(type_)
        self._note_reference(type_[1])
        return type_

    def _read_tag(self, reader: Reader) -> Type:
        reader.byte()
        type_ = ["tag", self._function_type(reader.unsigned(), reader)[1]]
        self._tags.append(type_)
        return type_

    def _read_element(self, reader: Reader) -> None:
        start = reader.at
        flags = reader.unsigned()
        if flags > 7:
            raise reader.fail(f"unknown element segment {flags}", start)
        passive, explicit, expressions = flags & 1, flags & 2, flags & 4
        if not passive:
            if explicit:
                reader.skip_leb()
            reader.skip_expression()
        if (passive or explicit) and expressions:
            self._note_reference(reader.value_type())
        elif passive or explicit:
            reader.byte()
        count = reader.count()
        if not expressions:
            reader.skip_lebs(count)
            return
        for _ in range(count):
            reader.skip_expression()

    def _note_reference(self, reference: str) -> None:
        self._collected = self._collected or reference in _COLLECTED

    def _poolable(self, exported: bool) -> bool:
        """Return whether the engine's pool may hold an instance."""
        if (
            self._collected
            or self._tags
            or self._imported_memories
            or len(self._memories) > 1
            or len(self._tables) > POOLED_TABLES
            or any(table[2] > POOLED_TABLE_ELEMENTS for table in self._tables)
            or len(self._functions) + len(self._globals) > POOLED_ITEMS
        ):
            return False
        if not self._memories:
            return True
        (_, minimum, maximum, _, shared, page) = self._memories[0]
        if shared or minimum * page > POOLED_MEMORY:
            return False
        return minimum == maximum or not self._may_grow() or (exported and self._heavy())

    def _may_grow(self) -> bool:
        """Return whether the code's bytes could have a memory.grow among them, wherever instructions begin."""
        code = self._sections.get(_CODE)
        return code is not None and _MEMORY_GROW.search(self._wasm, code.at, code.end) is not None

    def _heavy(self) -> bool:
        """Return whether active data segments come to more than `HEAVY_DATA`."""
        total = 0

        def read(reader: Reader) -> None:
            nonlocal total
            start = reader.at
            flags = reader.unsigned()
            if flags > 2:
                raise reader.fail(f"unknown data segment {flags}", start)
            if flags == 2:
                reader.skip_leb()
            if flags != 1:
                reader.skip_expression()
            size = reader.unsigned()
            reader.skip(size)
            if flags != 1:
                total += size

        self._each(_DATA, read)
        return total > HEAVY_DATA
