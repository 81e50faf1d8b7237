"""What the file system consists of: files, directories and symbolic links.

Nothing here points back up but weakly, so that a tree is gone, with all its bytes, the moment its job is.
"""

from __future__ import annotations

import weakref

from wasmq_worker.wasi.rights import FileType


class Node:
    """One file, directory or symbolic link. Times are nanoseconds since 1970; reading does not change `accessed`.

    A `frozen` node is never changed, nor are the names in a frozen directory.
    """

    __slots__ = ("__weakref__", "accessed", "changed", "frozen", "inode", "links", "modified", "opened")

    type: FileType

    def __init__(self, inode: int, now: int) -> None:
        self.inode = inode
        self.links = 0
        self.opened = 0
        self.frozen = False
        self.accessed = self.modified = self.changed = now

    @property
    def size(self) -> int:
        """Bytes of content, as they count against the quota."""
        return 0


class File(Node):
    """A regular file. Its content stays the bytes that came with the job until it is written to."""

    __slots__ = ("content",)

    type = FileType.REGULAR_FILE

    def __init__(self, inode: int, now: int, content: bytes | bytearray = b"") -> None:
        super().__init__(inode, now)
        self.content = content

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.content)

    def writable(self) -> bytearray:
        """Return the content as something that can be changed in place."""
        if not isinstance(self.content, bytearray):
            self.content = bytearray(self.content)
        return self.content


class Symlink(Node):
    """A symbolic link."""

    __slots__ = ("target",)

    type = FileType.SYMBOLIC_LINK

    def __init__(self, inode: int, now: int, target: bytes) -> None:
        super().__init__(inode, now)
        self.target = target

    @property
    def size(self) -> int:
        """Bytes of the target's path."""
        return len(self.target)


class Directory(Node):
    """A directory. Its entries keep the order in which they were made, each under a serial number of its own."""

    __slots__ = ("_parent", "entries", "listing", "serial")

    type = FileType.DIRECTORY

    def __init__(self, inode: int, now: int) -> None:
        super().__init__(inode, now)
        self.entries: dict[bytes, tuple[int, Node]] = {}
        # 1 and 2 are . and ..; a serial number is never given twice, so that a cookie stays good while entries go.
        self.serial = 3
        self.listing: list[tuple[int, bytes, Node]] | None = None
        self._parent: weakref.ref[Directory] | None = None

    @property
    def parent(self) -> Directory | None:
        """The directory that this one is in; None for the root."""
        return None if self._parent is None else self._parent()

    def move_to(self, parent: Directory) -> None:
        """Remember which directory this one is in."""
        self._parent = weakref.ref(parent)

    def get(self, name: bytes) -> Node | None:
        """Return what has this name, None when nothing does."""
        found = self.entries.get(name)
        return None if found is None else found[1]

    def add(self, name: bytes, node: Node, now: int) -> None:
        """Give a node a name, which must be free."""
        self.entries[name] = (self.serial, node)
        self.serial += 1
        self.listing = None
        self.modified = self.changed = now
        node.links += 1
        node.changed = now
        if isinstance(node, Directory):
            node.move_to(self)

    def take(self, name: bytes, now: int) -> Node:
        """Remove a name and return the node that had it."""
        _, node = self.entries.pop(name)
        self.listing = None
        self.modified = self.changed = now
        node.links -= 1
        node.changed = now
        return node
