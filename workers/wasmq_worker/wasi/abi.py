"""How functions and the guest's memory meet: the table of functions, pointers, records.

Every pointer and length is the guest's word. `room` checks one before anything is done; what lies outside the memory
raises `Failed(FAULT)`, which the guest gets as a result.
"""

from __future__ import annotations

from functools import wraps
from struct import Struct
from typing import TYPE_CHECKING, Final

from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.paths import PATH_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmq_worker.wasi.nodes import Node
    from wasmq_worker.wasi.world import World

# As in POSIX. What one call may copy is bounded too, as nothing else runs meanwhile: a longer read or write is short.
VECTORS_MAX: Final = 1024
COPY_MAX: Final = 16 << 20
_LENGTH_MAX: Final = (1 << 31) - 1

U32: Final = Struct("<I")
U64: Final = Struct("<Q")
PAIR: Final = Struct("<II")
FDSTAT: Final = Struct("<BxHxxxxQQ")
FILESTAT: Final = Struct("<QQBxxxxxxxQQQQQ")
DIRENT: Final = Struct("<QQIBxxx")

FUNCTIONS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[..., int]]]] = {}


def function(params: str) -> Callable[[Callable[..., None]], Callable[..., int]]:
    """Enter a function under its own name; `params` has one letter each, i for i32 and l for i64."""
    types = tuple({"i": "i32", "l": "i64"}[letter] for letter in params)

    def enter(body: Callable[..., None]) -> Callable[..., int]:
        @wraps(body)
        def call(world: World, memory: memoryview, *args: int) -> int:
            try:
                body(world, memory, *args)
            except Failed as failed:
                return int(failed.errno)
            return 0

        FUNCTIONS[body.__name__] = (types, ("i32",), call)
        return call

    return enter


def room(memory: memoryview, pointer: int, size: int) -> None:
    """Raise `Failed(FAULT)` unless `size` bytes lie within the memory."""
    if pointer + size > len(memory):
        raise Failed(Errno.FAULT)


def put(world: World, memory: memoryview, pointer: int, record: Struct, *fields: int) -> None:
    """Store a record."""
    if pointer + record.size > len(memory):
        raise Failed(Errno.FAULT)
    record.pack_into(memory, pointer, *fields)
    world.copied += record.size


def put_bytes(world: World, memory: memoryview, pointer: int, data: bytes | bytearray) -> None:
    """Store bytes."""
    end = pointer + len(data)
    if end > len(memory):
        raise Failed(Errno.FAULT)
    memory[pointer:end] = data
    world.copied += len(data)


def path_at(world: World, memory: memoryview, pointer: int, length: int) -> bytes:
    """Return a path as the guest wrote it. Raises `Failed`."""
    room(memory, pointer, length)
    if length > PATH_MAX:
        raise Failed(Errno.NAMETOOLONG)
    world.copied += length
    return bytes(memory[pointer : pointer + length])


def vectors(world: World, memory: memoryview, pointer: int, count: int) -> list[memoryview]:
    """Return the buffers that an array of pointer and length names, the empty ones left out.

    Raises `Failed`: INVAL for more than 1024 of them or more than 2 GiB together.
    """
    if count > VECTORS_MAX:
        raise Failed(Errno.INVAL)
    end = pointer + 8 * count
    if end > len(memory):
        raise Failed(Errno.FAULT)
    world.copied += 8 * count
    # One buffer is by far the most frequent, and unpacking it directly takes half the time.
    pairs = [PAIR.unpack_from(memory, pointer)] if count == 1 else PAIR.iter_unpack(memory[pointer:end])
    buffers = []
    total = 0
    for start, size in pairs:
        if start + size > len(memory):
            raise Failed(Errno.FAULT)
        if size:
            buffers.append(memory[start : start + size])
            total += size
    if total > _LENGTH_MAX:
        raise Failed(Errno.INVAL)
    return buffers


def first(buffers: Sequence[memoryview], most: int) -> list[memoryview]:
    """Return as much of some buffers as `most` bytes reach."""
    kept = []
    for buffer in buffers:
        if len(buffer) >= most:
            kept.append(buffer[:most])
            break
        kept.append(buffer)
        most -= len(buffer)
    return kept


def put_filestat(world: World, memory: memoryview, pointer: int, node: Node | None) -> None:
    """Store what is known of a node; None is a stream, of which nothing is."""
    if node is None:
        put(world, memory, pointer, FILESTAT, 0, 0, 0, 1, 0, 0, 0, 0)
    else:
        times = (node.accessed, node.modified, node.changed)
        put(world, memory, pointer, FILESTAT, 1, node.inode, node.type, node.links, node.size, *times)
