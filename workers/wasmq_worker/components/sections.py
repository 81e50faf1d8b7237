"""Reads the sections of a validated component for what its core instances take: memories, and records of functions.

Only what must be known before an instance exists is read here. Types come from the engine: see `describe`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wasmq_worker.binary import DescribeError, Reader
from wasmq_worker.describe import ITEM, table_bytes

if TYPE_CHECKING:
    from wasmq_worker.binary import Type

HEAVY_DATA: Final = 2**18
"""Bytes of data segments above which a component is mapped copy-on-write, if its memories can be capped so."""
MAX_ITEMS: Final = 2_000_000
"""Functions and globals, at 16 to 48 bytes each, that all core instances of a component may have together."""
INSTANCES: Final = 100
"""Core instances that one component may have."""

_PREAMBLE_SIZE: Final = 8
_ALIAS: Final = 6
_CORE_MODULE_SORT: Final = b"\x00\x11"
_FUNCTION, _TABLE, _MEMORY, _GLOBAL, _DATA = 3, 4, 5, 6, 11


@dataclass(frozen=True)
class Needs:
    """What a component takes.

    `memory` is the sum of the minimum sizes of all memories in bytes, `fixed` that of those which cannot grow. With
    `counted` the worker must count growth itself: more than one memory can grow, or there is little data to map.
    `record` is the bytes that its core instances take at most beside memories: tables, functions, globals.
    """

    memory: int
    fixed: int
    counted: bool
    record: int


@dataclass
class _Module:
    fixed: int = 0
    growing: int = 0
    grown: int = 0
    items: int = 0
    tables: int = 0
    data: int = 0

    @property
    def record(self) -> int:
        return self.tables + ITEM * self.items


def needs(wasm: bytes) -> Needs:
    """Return what a component takes. Raises `DescribeError` when it is more than an instance may."""
    modules: list[_Module] = []
    counts: dict[int, int] = {}
    flat = _read(wasm, Reader(wasm, _PREAMBLE_SIZE, len(wasm)), modules, counts)
    if not flat:
        # Who instantiates what is not followed into components with modules of their own.
        largest = max((module.items for module in modules), default=0)
        if largest * INSTANCES > MAX_ITEMS * 10:
            raise DescribeError(f"nested components with a module of more than {largest} functions and globals")
        return Needs(0, 0, True, INSTANCES * max((module.record for module in modules), default=0))
    made = [modules[index] for index, count in counts.items() for _ in range(min(count, INSTANCES + 1))]
    if len(made) > INSTANCES:
        raise DescribeError(f"more than {INSTANCES} core instances")
    if sum([module.items for module in made]) > MAX_ITEMS:
        raise DescribeError(f"core instances with more than {MAX_ITEMS} functions and globals together")
    fixed = sum([module.fixed for module in made])
    growing = sum([module.growing for module in made])
    grown = sum([module.grown for module in made])
    data = sum([module.data for module in made])
    heavy = data > HEAVY_DATA and grown <= 1 and fixed <= max(growing, 1)
    return Needs(fixed + growing, fixed, not heavy, sum([module.record for module in made]))


def _read(wasm: bytes, reader: Reader, modules: list[_Module], counts: dict[int, int]) -> bool:
    """Read one component's sections; returns whether all core modules are instantiated by itself, by their place."""
    flat = True
    while reader.at < reader.end:
        kind = reader.byte()
        size = reader.unsigned()
        inside = Reader(wasm, reader.at, reader.at + size)
        reader.skip(size)
        match kind:
            case 1:
                modules.append(_read_module(wasm, inside))
            case 2:
                for _ in range(inside.count()):
                    _read_instance(inside, counts)
            case 4:
                before = len(modules)
                inside.skip(_PREAMBLE_SIZE)
                _read(wasm, inside, modules, {})
                flat = flat and len(modules) == before
            case 6 | 10 if wasm.find(_CORE_MODULE_SORT, inside.at, inside.end) >= 0 and not _plain(inside, kind):
                flat = False
    return flat and all(index < len(modules) for index in counts)


def _plain(reader: Reader, kind: int) -> bool:
    """Return whether a section has nothing to do with core modules: aliases of one are `00 11`, imports `… 00 11`."""
    if kind != _ALIAS:
        return False
    for _ in range(reader.count()):
        sort = reader.byte()
        if sort == 0 and reader.byte() == 0x11:
            return False
        target = reader.byte()
        reader.unsigned()
        if target == 2:
            reader.unsigned()
        else:
            reader.name()
    return True


def _read_instance(reader: Reader, counts: dict[int, int]) -> None:
    if reader.byte() == 0:
        module = reader.unsigned()
        counts[module] = counts.get(module, 0) + 1
        for _ in range(reader.count()):
            reader.name()
            reader.byte()
            reader.unsigned()
        return
    for _ in range(reader.count()):
        reader.name()
        reader.byte()
        reader.unsigned()


def _read_module(wasm: bytes, reader: Reader) -> _Module:
    module = _Module()
    memories: list[tuple[int, int | None]] = []
    reader.skip(_PREAMBLE_SIZE)
    while reader.at < reader.end:
        kind = reader.byte()
        size = reader.unsigned()
        inside = Reader(wasm, reader.at, reader.at + size)
        reader.skip(size)
        if kind == _MEMORY:
            for _ in range(inside.count()):
                _, minimum, maximum, _, _, page = inside.memory_type()
                memories.append((minimum * page, None if maximum is None else maximum * page))
        elif kind == _TABLE:
            module.tables = table_bytes(_read_tables(inside))
        elif kind in (_FUNCTION, _GLOBAL):
            module.items += inside.count()
        elif kind == _DATA:
            module.data = size
    for minimum, maximum in memories:
        if minimum == maximum:
            module.fixed += minimum
        else:
            module.growing += minimum
            module.grown += 1
    return module


def _read_tables(reader: Reader) -> list[Type]:
    tables = []
    for _ in range(reader.count()):
        initialised = reader.data.startswith(b"\x40\x00", reader.at, reader.end)
        if initialised:
            reader.at += 2
        tables.append(reader.table_type())
        if initialised:
            reader.skip_expression()
    return tables
