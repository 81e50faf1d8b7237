"""The functions on descriptors: `fd_*`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmq_worker.wasi import abi, rights
from wasmq_worker.wasi.abi import function, put, put_bytes, room
from wasmq_worker.wasi.descriptors import POSITION_MAX, OpenDirectory, OpenFile
from wasmq_worker.wasi.errno import Errno, Failed

if TYPE_CHECKING:
    from wasmq_worker.wasi.nodes import Node
    from wasmq_worker.wasi.tree import Tree
    from wasmq_worker.wasi.world import World

_ADVICES: Final = 6


@function("illi")
def fd_advise(world: World, memory: memoryview, fd: int, offset: int, length: int, advice: int) -> None:
    """Do nothing: all of a file is in memory."""
    if not isinstance(world.descriptors.get(fd), OpenFile):
        raise Failed(Errno.BADF)
    if advice >= _ADVICES or offset > POSITION_MAX or length > POSITION_MAX:
        raise Failed(Errno.INVAL)


@function("ill")
def fd_allocate(world: World, memory: memoryview, fd: int, offset: int, length: int) -> None:
    """Make a file long enough to hold a range."""
    file = world.descriptors.file(fd)
    if not file.rights & (rights.FD_ALLOCATE | rights.FD_WRITE):
        raise Failed(Errno.BADF)
    if length == 0 or offset + length > POSITION_MAX:
        raise Failed(Errno.INVAL)
    if offset + length > file.file.size:
        world.tree.resize(file.file, offset + length)


@function("i")
def fd_close(world: World, memory: memoryview, fd: int) -> None:
    """Close a descriptor, one that the job started with as well."""
    world.descriptors.close(fd)


@function("i")
def fd_datasync(world: World, memory: memoryview, fd: int) -> None:
    """Do nothing: there is no medium to write to."""
    world.descriptors.get(fd)


@function("i")
def fd_sync(world: World, memory: memoryview, fd: int) -> None:
    """Do nothing: there is no medium to write to."""
    world.descriptors.get(fd)


@function("ii")
def fd_fdstat_get(world: World, memory: memoryview, fd: int, out: int) -> None:
    """Store type, flags and rights. A stream's type is unknown: no terminal, so that a guest buffers what it writes."""
    found = world.descriptors.get(fd)
    put(world, memory, out, abi.FDSTAT, found.type, found.flags, found.rights, found.inheriting)


@function("ii")
def fd_fdstat_set_flags(world: World, memory: memoryview, fd: int, flags: int) -> None:
    """Set the flags, of which only that for appending means anything here."""
    found = world.descriptors.get(fd)
    if flags & ~rights.ALL_FDFLAGS:
        raise Failed(Errno.INVAL)
    found.flags = flags


@function("ill")
def fd_fdstat_set_rights(world: World, memory: memoryview, fd: int, base: int, inheriting: int) -> None:
    """Drop rights. Raises `Failed(NOTCAPABLE)` for any that the descriptor has not."""
    found = world.descriptors.get(fd)
    if base & ~found.rights or inheriting & ~found.inheriting:
        raise Failed(Errno.NOTCAPABLE)
    found.rights, found.inheriting = base, inheriting


@function("ii")
def fd_filestat_get(world: World, memory: memoryview, fd: int, out: int) -> None:
    """Store what is known of an open file or directory."""
    abi.put_filestat(world, memory, out, world.descriptors.get(fd).node)


@function("il")
def fd_filestat_set_size(world: World, memory: memoryview, fd: int, size: int) -> None:
    """Cut a file, or lengthen it with zeros."""
    world.descriptors.file(fd).resize(size)


@function("illi")
def fd_filestat_set_times(world: World, memory: memoryview, fd: int, accessed: int, modified: int, which: int) -> None:
    """Set the times of an open file or directory."""
    node = world.descriptors.get(fd).node
    if node is None:
        raise Failed(Errno.INVAL)
    set_times(world.tree, node, accessed, modified, which)


@function("iiili")
def fd_pread(world: World, memory: memoryview, fd: int, iovs: int, count: int, offset: int, out: int) -> None:
    """Read at an offset and leave the position alone."""
    _read(world, memory, fd, iovs, count, offset, out)


@function("iiii")
def fd_read(world: World, memory: memoryview, fd: int, iovs: int, count: int, out: int) -> None:
    """Read at the position and move it."""
    _read(world, memory, fd, iovs, count, None, out)


@function("iiili")
def fd_pwrite(world: World, memory: memoryview, fd: int, iovs: int, count: int, offset: int, out: int) -> None:
    """Write at an offset, appending or not, and leave the position alone."""
    _write(world, memory, fd, iovs, count, offset, out)


@function("iiii")
def fd_write(world: World, memory: memoryview, fd: int, iovs: int, count: int, out: int) -> None:
    """Write at the position, or at the end when appending, and move it."""
    _write(world, memory, fd, iovs, count, None, out)


@function("ii")
def fd_prestat_get(world: World, memory: memoryview, fd: int, out: int) -> None:
    """Store the kind of a preopened directory, which is 0, and the length of its name."""
    put(world, memory, out, abi.PAIR, 0, len(_preopened(world, fd)))


@function("iii")
def fd_prestat_dir_name(world: World, memory: memoryview, fd: int, path: int, length: int) -> None:
    """Store the name of a preopened directory, without an ending."""
    name = _preopened(world, fd)
    if length < len(name):
        raise Failed(Errno.NAMETOOLONG)
    room(memory, path, length)
    put_bytes(world, memory, path, name)


@function("iiili")
def fd_readdir(world: World, memory: memoryview, fd: int, buffer: int, size: int, cookie: int, out: int) -> None:
    """Store entries after a cookie until the buffer is full, the last one cut off if need be."""
    directory = world.descriptors.directory(fd)
    room(memory, buffer, size)
    room(memory, out, 4)
    # A cut entry is read again by the next call: a buffer need not be larger than a copy may be.
    size = min(size, abi.COPY_MAX)
    found = bytearray()
    for following, name, node in world.tree.list(directory.directory, cookie):
        found += abi.DIRENT.pack(following, node.inode, len(name), node.type)
        found += name
        if len(found) >= size:
            break
    put_bytes(world, memory, buffer, found[:size])
    put(world, memory, out, abi.U32, min(len(found), size))


@function("ii")
def fd_renumber(world: World, memory: memoryview, fd: int, to: int) -> None:
    """Move a descriptor to the number of another, which is closed."""
    world.descriptors.renumber(fd, to)


@function("ilii")
def fd_seek(world: World, memory: memoryview, fd: int, offset: int, whence: int, out: int) -> None:
    """Move the position and store it."""
    found = world.descriptors.get(fd)
    room(memory, out, 8)
    put(world, memory, out, abi.U64, found.seek(offset - (1 << 64) if offset >> 63 else offset, whence))


@function("ii")
def fd_tell(world: World, memory: memoryview, fd: int, out: int) -> None:
    """Store the position."""
    put(world, memory, out, abi.U64, world.descriptors.get(fd).seek(0, 1))


def set_times(tree: Tree, node: Node, accessed: int, modified: int, which: int) -> None:
    """Set the times that `which` names: bits 0 and 2 as given, bits 1 and 3 now. Raises `Failed(INVAL)`."""
    if which >= 1 << 4 or which & 0b0011 == 0b0011 or which & 0b1100 == 0b1100:
        raise Failed(Errno.INVAL)
    now = tree.now() if which & 0b1010 else 0
    tree.touch(
        node,
        now if which & 0b0010 else accessed if which & 0b0001 else None,
        now if which & 0b1000 else modified if which & 0b0100 else None,
    )


def _read(world: World, memory: memoryview, fd: int, iovs: int, count: int, offset: int | None, out: int) -> None:
    found = world.descriptors.get(fd)
    buffers = abi.vectors(world, memory, iovs, count)
    room(memory, out, 4)
    data = found.read(min(sum(map(len, buffers)), abi.COPY_MAX), offset)
    done = 0
    for buffer in buffers:
        if done == len(data):
            break
        part = data[done : done + len(buffer)]
        buffer[: len(part)] = part
        done += len(part)
    world.copied += done
    put(world, memory, out, abi.U32, done)


def _write(world: World, memory: memoryview, fd: int, iovs: int, count: int, offset: int | None, out: int) -> None:
    found = world.descriptors.get(fd)
    buffers = abi.vectors(world, memory, iovs, count)
    room(memory, out, 4)
    if isinstance(found, OpenFile):
        buffers = abi.first(buffers, abi.COPY_MAX)
    written = found.write(buffers, offset)
    world.copied += written
    put(world, memory, out, abi.U32, written)


def _preopened(world: World, fd: int) -> bytes:
    found = world.descriptors.get(fd)
    if not isinstance(found, OpenDirectory) or found.name is None:
        raise Failed(Errno.BADF)
    return found.name
