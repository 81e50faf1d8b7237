"""The functions on paths: `path_*`. Each path starts from an open directory and stays below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmq_worker.wasi import abi, rights
from wasmq_worker.wasi.abi import function, path_at, put, put_bytes, room
from wasmq_worker.wasi.descriptor_calls import set_times
from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.opening import check_oflags, existing, link_target, open_at

if TYPE_CHECKING:
    from wasmq_worker.wasi.paths import Place
    from wasmq_worker.wasi.world import World

_FOLLOW: Final = 1


@function("iii")
def path_create_directory(world: World, memory: memoryview, fd: int, path: int, length: int) -> None:
    """Make a directory."""
    world.tree.make_directory(_find(world, memory, fd, path, length))


@function("iiiii")
def path_filestat_get(world: World, memory: memoryview, fd: int, lookup: int, path: int, length: int, out: int) -> None:
    """Store what is known of what a path names."""
    abi.put_filestat(world, memory, out, existing(_find(world, memory, fd, path, length, lookup)))


@function("iiiilli")
def path_filestat_set_times(
    world: World,
    memory: memoryview,
    fd: int,
    lookup: int,
    path: int,
    length: int,
    accessed: int,
    modified: int,
    which: int,
) -> None:
    """Set the times of what a path names."""
    node = existing(_find(world, memory, fd, path, length, lookup))
    set_times(world.tree, node, accessed, modified, which)


@function("iiiiiii")
def path_link(
    world: World,
    memory: memoryview,
    old_fd: int,
    lookup: int,
    old_path: int,
    old_length: int,
    new_fd: int,
    new_path: int,
    new_length: int,
) -> None:
    """Give a file one more name."""
    old = _find(world, memory, old_fd, old_path, old_length, lookup)
    world.tree.link(existing(old), _find(world, memory, new_fd, new_path, new_length))


@function("iiiiillii")
def path_open(
    world: World,
    memory: memoryview,
    fd: int,
    lookup: int,
    path: int,
    length: int,
    oflags: int,
    base: int,
    inheriting: int,
    flags: int,
    out: int,
) -> None:
    """Open a file or a directory, making or emptying it if told to, and store the descriptor's number."""
    room(memory, out, 4)
    if oflags & ~rights.ALL_OFLAGS or flags & ~rights.ALL_FDFLAGS:
        raise Failed(Errno.INVAL)
    check_oflags(oflags)
    directory = world.descriptors.directory(fd)
    if oflags & rights.TRUNCATE and not directory.rights & rights.PATH_FILESTAT_SET_SIZE:
        raise Failed(Errno.NOTCAPABLE)
    follow = _follow(lookup)
    name = path_at(world, memory, path, length)
    world.descriptors.check_room()
    opened = open_at(world.tree, directory.directory, name, oflags, base, flags, follow=follow)
    number = world.descriptors.open(opened)
    put(world, memory, out, abi.U32, number)


@function("iiiiii")
def path_readlink(
    world: World, memory: memoryview, fd: int, path: int, length: int, buffer: int, size: int, out: int
) -> None:
    """Store where a symbolic link leads, cut to the buffer."""
    room(memory, buffer, size)
    room(memory, out, 4)
    target = link_target(_find(world, memory, fd, path, length))[:size]
    put_bytes(world, memory, buffer, target)
    put(world, memory, out, abi.U32, len(target))


@function("iii")
def path_remove_directory(world: World, memory: memoryview, fd: int, path: int, length: int) -> None:
    """Remove an empty directory."""
    world.tree.remove_directory(_find(world, memory, fd, path, length))


@function("iiiiii")
def path_rename(
    world: World,
    memory: memoryview,
    old_fd: int,
    old_path: int,
    old_length: int,
    new_fd: int,
    new_path: int,
    new_length: int,
) -> None:
    """Move a name, over what is there if it can be."""
    old = _find(world, memory, old_fd, old_path, old_length)
    world.tree.rename(old, _find(world, memory, new_fd, new_path, new_length))


@function("iiiii")
def path_symlink(
    world: World, memory: memoryview, old_path: int, old_length: int, fd: int, new_path: int, new_length: int
) -> None:
    """Make a symbolic link."""
    target = path_at(world, memory, old_path, old_length)
    world.tree.make_symlink(_find(world, memory, fd, new_path, new_length), target)


@function("iii")
def path_unlink_file(world: World, memory: memoryview, fd: int, path: int, length: int) -> None:
    """Remove the name of a file or symbolic link."""
    world.tree.unlink(_find(world, memory, fd, path, length))


def _find(world: World, memory: memoryview, fd: int, path: int, length: int, lookup: int = 0) -> Place:
    """Return where a path leads; a link at its end is followed when `lookup` says so."""
    directory = world.descriptors.directory(fd).directory
    follow = _follow(lookup)
    return world.tree.find(directory, path_at(world, memory, path, length), follow=follow)


def _follow(lookup: int) -> bool:
    if lookup & ~_FOLLOW:
        raise Failed(Errno.INVAL)
    return lookup == _FOLLOW
