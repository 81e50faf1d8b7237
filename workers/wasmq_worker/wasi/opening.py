"""From a place to what is there: the node, a link's target, an open file, as both versions of WASI want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmq_worker.wasi import rights
from wasmq_worker.wasi.descriptors import OpenDirectory, OpenFile
from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.nodes import Directory, File, Node, Symlink

if TYPE_CHECKING:
    from wasmq_worker.wasi.paths import Place
    from wasmq_worker.wasi.tree import Tree


def existing(place: Place) -> Node:
    """Return what is at a place. Raises `Failed`: NOENT, or NOTDIR for a file whose path ends in a slash."""
    if place.node is None:
        raise Failed(Errno.NOENT)
    if place.slashed and not isinstance(place.node, Directory):
        raise Failed(Errno.NOTDIR)
    return place.node


def link_target(place: Place) -> bytes:
    """Return where a symbolic link leads. Raises `Failed`: INVAL for anything else that is there."""
    node = existing(place)
    if not isinstance(node, Symlink):
        raise Failed(Errno.INVAL)
    return node.target


def check_oflags(oflags: int) -> None:
    """Raise `Failed(INVAL)` for flags to open with that exclude each other."""
    if oflags & rights.MUST_BE_DIRECTORY and oflags & ~rights.MUST_BE_DIRECTORY:
        raise Failed(Errno.INVAL)


def open_at(
    tree: Tree, directory: Directory, path: bytes, oflags: int, base: int, flags: int, *, follow: bool
) -> OpenFile | OpenDirectory:
    """Open a file or a directory, making or emptying it as `oflags` say. A file gets the rights in `base`.

    A symbolic link at the end of the path is followed when told, but never when the file must be new.
    """
    exclusive = oflags & rights.CREATE and oflags & rights.EXCLUSIVE
    place = tree.find(directory, path, follow=follow and not exclusive)
    if exclusive and place.node is not None:
        raise Failed(Errno.EXIST)
    match place.node:
        case None:
            if not oflags & rights.CREATE:
                raise Failed(Errno.NOENT)
            return OpenFile(tree, tree.make_file(place), base, flags)
        case Directory() as found:
            if oflags & (rights.CREATE | rights.TRUNCATE) or base & rights.FD_WRITE:
                raise Failed(Errno.ISDIR)
            return OpenDirectory(found)
        case File() as file:
            if place.slashed or oflags & rights.MUST_BE_DIRECTORY:
                raise Failed(Errno.NOTDIR)
            if oflags & rights.TRUNCATE:
                tree.resize(file, 0)
            return OpenFile(tree, file, base, flags)
        case _:
            raise Failed(Errno.LOOP)
