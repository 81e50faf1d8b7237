"""What a guest's descriptor numbers stand for: the three standard streams, open files, open directories."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from wasmq_worker.wasi import rights
from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.rights import FileType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmq_worker.wasi.nodes import Directory, File, Node
    from wasmq_worker.wasi.tree import Tree

DESCRIPTORS_MAX: Final = 1024
POSITION_MAX: Final = (1 << 63) - 1


class Descriptor:
    """What all kinds have in common; what a kind cannot do raises `Failed` as this class does."""

    __slots__ = ("flags", "inheriting", "rights")

    type = FileType.UNKNOWN

    def __init__(self, base: int, inheriting: int, flags: int) -> None:
        self.rights = base
        self.inheriting = inheriting
        self.flags = flags

    @property
    def node(self) -> Node | None:
        """What it has open in the tree, if it is there at all."""
        return None

    def read(self, length: int, position: int | None) -> bytes | bytearray:
        """Return at most `length` bytes, from where the last read ended or from `position`."""
        raise Failed(Errno.BADF)

    def write(self, chunks: Sequence[memoryview], position: int | None) -> int:
        """Write, where the last write ended or at `position`, and return how many bytes were taken."""
        raise Failed(Errno.BADF)

    def seek(self, offset: int, whence: int) -> int:
        """Move by `offset` from the start (0), from here (1) or from the end (2) and return the new position."""
        raise Failed(Errno.SPIPE)

    def readable(self) -> int:
        """Return how many bytes a read would find now."""
        raise Failed(Errno.BADF)

    def writable(self) -> None:
        """Return when a write would be possible."""
        raise Failed(Errno.BADF)


class Input(Descriptor):
    """Standard input: the bytes that came with the job."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        super().__init__(rights.STREAM | rights.FD_READ, 0, 0)
        self._data = data
        self._position = 0

    def read(self, length: int, position: int | None) -> bytes | bytearray:
        """Return the next bytes."""
        if position is not None:
            raise Failed(Errno.SPIPE)
        if not self.rights & rights.FD_READ:
            raise Failed(Errno.BADF)
        data = self._data[self._position : self._position + length]
        self._position += len(data)
        return data

    def readable(self) -> int:
        """Return how many bytes are left; the end is as ready as any."""
        return len(self._data) - self._position


class Allowance:
    """How many bytes of output are still kept, whichever stream they go to."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class Output(Descriptor):
    """Standard output or error. It takes everything and keeps what the allowance lets it."""

    __slots__ = ("_allowance", "kept", "truncated")

    def __init__(self, allowance: Allowance) -> None:
        super().__init__(rights.STREAM | rights.FD_WRITE, 0, 0)
        self._allowance = allowance
        self.kept = bytearray()
        self.truncated = False

    def write(self, chunks: Sequence[memoryview], position: int | None) -> int:
        """Return the length of all chunks, kept or not."""
        if position is not None:
            raise Failed(Errno.SPIPE)
        if not self.rights & rights.FD_WRITE:
            raise Failed(Errno.BADF)
        written = 0
        left = self._allowance.left
        for chunk in chunks:
            size = len(chunk)
            written += size
            if size <= left:
                self.kept += chunk
                left -= size
            else:
                self.kept += chunk[:left]
                left = 0
                self.truncated = True
        self._allowance.left = left
        return written

    def writable(self) -> None:
        """Return at once."""


class OpenFile(Descriptor):
    """A file, with a position."""

    __slots__ = ("_tree", "file", "position")

    type = FileType.REGULAR_FILE

    def __init__(self, tree: Tree, file: File, base: int, flags: int) -> None:
        super().__init__(base & rights.FILE, 0, flags)
        self._tree = tree
        self.file = file
        self.position = 0

    @property
    def node(self) -> Node:
        """The file."""
        return self.file

    def read(self, length: int, position: int | None) -> bytes | bytearray:
        """Return bytes of the file."""
        if not self.rights & rights.FD_READ:
            raise Failed(Errno.BADF)
        data = self._tree.read(self.file, self.position if position is None else position, length)
        if position is None:
            self.position += len(data)
        return data

    def write(self, chunks: Sequence[memoryview], position: int | None) -> int:
        """Write what the quota leaves room for; raises `Failed(NOSPC)` when that is nothing."""
        if not self.rights & rights.FD_WRITE:
            raise Failed(Errno.BADF)
        if position is not None:
            at = position
        elif self.flags & rights.APPEND:
            at = self.file.size
        else:
            at = self.position
        written = self._tree.write(self.file, at, chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if position is None:
            self.position = at + written
        return written

    def resize(self, size: int) -> None:
        """Cut the file, or lengthen it with zeros. Raises `Failed`: BADF, INVAL or NOSPC."""
        if not self.rights & (rights.FD_FILESTAT_SET_SIZE | rights.FD_WRITE):
            raise Failed(Errno.BADF)
        if size > POSITION_MAX:
            raise Failed(Errno.INVAL)
        self._tree.resize(self.file, size)

    def seek(self, offset: int, whence: int) -> int:
        """Move; beyond the end is fine, before the start raises `Failed(INVAL)`."""
        if whence > 2:
            raise Failed(Errno.INVAL)
        position = (0, self.position, self.file.size)[whence] + offset
        if not 0 <= position <= POSITION_MAX:
            raise Failed(Errno.INVAL)
        self.position = position
        return position

    def readable(self) -> int:
        """Return how many bytes are between the position and the end."""
        return max(0, self.file.size - self.position)

    def writable(self) -> None:
        """Return at once."""


class OpenDirectory(Descriptor):
    """A directory; with a `name` if the guest had it from the start."""

    __slots__ = ("directory", "name")

    type = FileType.DIRECTORY

    def __init__(self, directory: Directory, name: bytes | None = None) -> None:
        super().__init__(rights.DIRECTORY, rights.INHERITING, 0)
        self.directory = directory
        self.name = name

    @property
    def node(self) -> Node:
        """The directory."""
        return self.directory

    def read(self, length: int, position: int | None) -> bytes | bytearray:
        """Raise `Failed(ISDIR)`."""
        raise Failed(Errno.ISDIR)

    def write(self, chunks: Sequence[memoryview], position: int | None) -> int:
        """Raise `Failed(ISDIR)`."""
        raise Failed(Errno.ISDIR)

    def seek(self, offset: int, whence: int) -> int:
        """Raise `Failed(BADF)`: a directory's cookies are its positions."""
        raise Failed(Errno.BADF)


class Table:
    """Descriptors by number; a new one gets the lowest number that is free."""

    __slots__ = ("_free", "_open", "_tree")

    def __init__(self, tree: Tree, first: Sequence[Descriptor]) -> None:
        self._tree = tree
        self._open: dict[int, Descriptor] = dict(enumerate(first))
        self._free: list[int] = []
        for descriptor in first:
            self._hold(descriptor)

    def get(self, number: int) -> Descriptor:
        """Return what a number stands for. Raises `Failed(BADF)`."""
        found = self._open.get(number)
        if found is None:
            raise Failed(Errno.BADF)
        return found

    def directory(self, number: int) -> OpenDirectory:
        """Return an open directory. Raises `Failed`: BADF, or NOTDIR for anything else that is open."""
        found = self.get(number)
        if not isinstance(found, OpenDirectory):
            raise Failed(Errno.NOTDIR)
        return found

    def file(self, number: int) -> OpenFile:
        """Return an open file. Raises `Failed`: BADF, ISDIR for a directory, INVAL for a stream."""
        found = self.get(number)
        if isinstance(found, OpenFile):
            return found
        raise Failed(Errno.ISDIR if isinstance(found, OpenDirectory) else Errno.INVAL)

    def check_room(self) -> None:
        """Raise `Failed(MFILE)` when no more can be opened."""
        if len(self._open) >= DESCRIPTORS_MAX:
            raise Failed(Errno.MFILE)

    def open(self, descriptor: Descriptor) -> int:
        """Give a descriptor a number; there must be room."""
        # Numbers are never skipped, so without a free one below, the next is how many there are.
        number = heappop(self._free) if self._free else len(self._open)
        self._open[number] = descriptor
        self._hold(descriptor)
        return number

    def close(self, number: int) -> None:
        """Free a number. Raises `Failed(BADF)`."""
        node = self.get(number).node
        del self._open[number]
        heappush(self._free, number)
        if node is not None:
            self._tree.closed(node)

    def renumber(self, number: int, to: int) -> None:
        """Let `to` stand for what `number` does, and free `number`. Raises `Failed(BADF)` unless both are open."""
        moved, closed = self.get(number), self.get(to).node
        if number == to:
            return
        del self._open[number]
        heappush(self._free, number)
        self._open[to] = moved
        if closed is not None:
            self._tree.closed(closed)

    def _hold(self, descriptor: Descriptor) -> None:
        if descriptor.node is not None:
            self._tree.opened(descriptor.node)
