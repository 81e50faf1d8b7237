"""The file system of one job: a tree in memory with a quota of bytes and of names."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from wasmq_worker.wasi import paths
from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.nodes import Directory, File, Node, Symlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wasmq_worker.wasi.paths import Place


class Tree:
    """Files, directories and links, and every change to them.

    `size` is the bytes of all files and of the targets of all symbolic links, open ones without a name included;
    `entries` counts names. A change that would pass `quota` or `max_entries` raises `Failed(NOSPC)` and changes
    nothing, except that a write writes what fits. `work` counts bytes of effort that the guest's own buffers do not
    show: filling gaps with zeros, following links, listing.
    """

    def __init__(self, quota: int, max_entries: int, now: Callable[[], int]) -> None:
        self.quota = quota
        self.max_entries = max_entries
        self.size = 0
        self.entries = 0
        self.work = 0
        self._now = now
        self._inodes = 1
        self.root = Directory(1, now())
        self.root.links = 1

    def find(self, base: Directory, path: bytes, *, follow: bool) -> Place:
        """Return where a path leads; see `paths.find`."""
        place = paths.find(base, paths.check(path), follow=follow)
        self.work += place.followed
        return place

    def make_file(self, place: Place, content: bytes = b"") -> File:
        """Make a file where nothing is yet. Raises `Failed`."""
        if place.slashed:
            raise Failed(Errno.ISDIR)
        self._room_for_bytes(len(content))
        file = File(self._inode(), self._now(), content)
        self._add(place, file)
        self.size += len(content)
        return file

    def make_directory(self, place: Place) -> Directory:
        """Make a directory where nothing is yet. Raises `Failed`."""
        directory = Directory(self._inode(), self._now())
        self._add(place, directory)
        return directory

    def make_symlink(self, place: Place, target: bytes) -> None:
        """Make a symbolic link where nothing is yet. Raises `Failed`: PERM for an absolute target."""
        paths.check(target)
        if target.startswith(b"/"):
            raise Failed(Errno.PERM)
        self._refuse_slash(place)
        self._room_for_bytes(len(target))
        self._add(place, Symlink(self._inode(), self._now(), target))
        self.size += len(target)

    def link(self, node: Node, place: Place) -> None:
        """Give a file or a symbolic link one more name. Raises `Failed`: PERM for a directory."""
        if isinstance(node, Directory):
            raise Failed(Errno.PERM)
        self._refuse_slash(place)
        self._add(place, node)

    def unlink(self, place: Place) -> None:
        """Remove the name of a file or symbolic link; what is open stays until it is closed. Raises `Failed`."""
        if place.node is None:
            raise Failed(Errno.NOENT)
        if isinstance(place.node, Directory):
            raise Failed(Errno.ISDIR)
        if place.slashed or place.parent is None:
            raise Failed(Errno.NOTDIR)
        self._remove(place.parent, place.name)

    def remove_directory(self, place: Place) -> None:
        """Remove an empty directory. Raises `Failed`."""
        if place.node is None:
            raise Failed(Errno.NOENT)
        if not isinstance(place.node, Directory):
            raise Failed(Errno.NOTDIR)
        if place.parent is None:
            raise Failed(Errno.INVAL)
        if place.node.entries:
            raise Failed(Errno.NOTEMPTY)
        self._remove(place.parent, place.name)

    def rename(self, old: Place, new: Place) -> None:
        """Move a name, over a file or an empty directory if one is there. Raises `Failed` and then changes nothing."""
        node = old.node
        if node is None:
            raise Failed(Errno.NOENT)
        if old.parent is None or new.parent is None:
            raise Failed(Errno.BUSY)
        _refuse_frozen(old.parent)
        _refuse_frozen(new.parent)
        if isinstance(node, Directory):
            self._refuse_inside(node, new.parent)
        elif old.slashed or (new.slashed and not isinstance(new.node, Directory)):
            raise Failed(Errno.NOTDIR)
        if new.node is node:
            return
        if new.parent.links == 0:
            raise Failed(Errno.NOENT)
        match new.node:
            case None:
                pass
            case Directory():
                if not isinstance(node, Directory):
                    raise Failed(Errno.ISDIR)
                if new.node.entries:
                    raise Failed(Errno.NOTEMPTY)
            case _ if isinstance(node, Directory):
                raise Failed(Errno.NOTDIR)
        if new.node is not None:
            self._remove(new.parent, new.name)
        now = self._now()
        new.parent.add(new.name, old.parent.take(old.name, now), now)

    def freeze(self, directory: Directory) -> None:
        """Let nothing in a directory be changed from now on: what would raises `Failed(ROFS)`."""
        nodes: list[Node] = [directory]
        while nodes:
            node = nodes.pop()
            node.frozen = True
            if isinstance(node, Directory):
                nodes += [below for _, below in node.entries.values()]

    def opened(self, node: Node) -> None:
        """Keep a node, with or without a name, until it is `closed` as often."""
        node.opened += 1

    def closed(self, node: Node) -> None:
        """Undo `opened` once; a file without a name is gone after the last."""
        node.opened -= 1
        self._drop_if_gone(node)

    def read(self, file: File, position: int, length: int) -> bytes | bytearray:
        """Return at most `length` bytes; none at or after the end."""
        return file.content[position : position + length]

    def write(self, file: File, position: int, data: bytes | memoryview) -> int:
        """Write what the quota leaves room for and return how many bytes that is; `Failed(NOSPC)` when it is none."""
        _refuse_frozen(file)
        size = file.size
        most = max(size, size + self.quota - self.size)
        count = min(len(data), most - position)
        if count <= 0:
            if data:
                raise Failed(Errno.NOSPC)
            return 0
        content = file.writable()
        if position > size:
            self.work += position - size
            content.extend(bytes(position - size))
        if position >= size:
            content += data[:count]
        else:
            content[position : position + count] = data[:count]
        self.size += len(content) - size
        file.modified = file.changed = self._now()
        return count

    def resize(self, file: File, size: int) -> None:
        """Cut a file, or lengthen it with zeros. Raises `Failed(NOSPC)`."""
        _refuse_frozen(file)
        more = size - file.size
        if more > 0:
            self._room_for_bytes(more)
            file.writable().extend(bytes(more))
            self.work += more
        elif size == 0:
            file.content = b""
        elif more < 0:
            del file.writable()[size:]
        self.size += more
        file.modified = file.changed = self._now()

    def list(self, directory: Directory, cookie: int) -> Iterator[tuple[int, bytes, Node]]:
        """Yield cookie, name and node of what comes after a cookie, 0 for all; a yielded cookie continues after it."""
        if cookie < 1:
            yield 1, b".", directory
        if cookie < 2:
            yield 2, b"..", directory.parent or directory
        listing = directory.listing
        if listing is None:
            listing = [(serial, name, node) for name, (serial, node) in directory.entries.items()]
            directory.listing = listing
            self.work += 8 * len(listing)
        for index in range(bisect_right(listing, cookie, key=lambda entry: entry[0]), len(listing)):
            yield listing[index]

    def touch(self, node: Node, accessed: int | None, modified: int | None) -> None:
        """Set the times that are given, in nanoseconds since 1970."""
        _refuse_frozen(node)
        if accessed is not None:
            node.accessed = accessed
        if modified is not None:
            node.modified = modified
        node.changed = self._now()

    def now(self) -> int:
        """Return nanoseconds since 1970."""
        return self._now()

    def _inode(self) -> int:
        self._inodes += 1
        return self._inodes

    def _room_for_bytes(self, more: int) -> None:
        if self.size + more > self.quota:
            raise Failed(Errno.NOSPC)

    def _refuse_slash(self, place: Place) -> None:
        if place.slashed and place.node is None:
            raise Failed(Errno.NOENT)
        if place.slashed and not isinstance(place.node, Directory):
            raise Failed(Errno.NOTDIR)

    def _refuse_inside(self, node: Directory, inside: Directory) -> None:
        """Raise `Failed(INVAL)` rather than make a directory part of itself."""
        above: Directory | None = inside
        while above is not None:
            self.work += 8
            if above is node:
                raise Failed(Errno.INVAL)
            above = above.parent

    def _add(self, place: Place, node: Node) -> None:
        if place.node is not None or place.parent is None:
            raise Failed(Errno.EXIST)
        _refuse_frozen(place.parent)
        if place.parent.links == 0:
            raise Failed(Errno.NOENT)
        if self.entries >= self.max_entries:
            raise Failed(Errno.NOSPC)
        place.parent.add(place.name, node, self._now())
        self.entries += 1

    def _remove(self, parent: Directory, name: bytes) -> None:
        _refuse_frozen(parent)
        node = parent.take(name, self._now())
        self.entries -= 1
        self._drop_if_gone(node)

    def _drop_if_gone(self, node: Node) -> None:
        if node.links == 0 and node.opened == 0:
            self.size -= node.size


def _refuse_frozen(node: Node) -> None:
    if node.frozen:
        raise Failed(Errno.ROFS)
