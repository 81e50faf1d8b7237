"""What handles stand for.

A resource that comes from another does without it: a stream has its file opened once more, a pollable knows when it is
ready. So the guest may drop them in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmq_worker.wasi.errno import Errno, Failed

if TYPE_CHECKING:
    from wasmq_worker.wasi.descriptors import Descriptor, OpenDirectory, OpenFile
    from wasmq_worker.wasi.nodes import Directory, Node
    from wasmq_worker.wasi.tree import Tree

# The most that one call reads, and what `check-write` permits. Each byte is on its way as a value of its own, and
# nothing else runs meanwhile.
CHUNK_MAX: Final = 1 << 16


class Closed(Failed):
    """Raised when a stream is at its end."""

    def __init__(self) -> None:
        super().__init__(Errno.PIPE)


class Handle:
    """What all resources have in common. `kept` is how many bytes of what the guest gave it a resource keeps."""

    __slots__ = ()

    kept: int = 0

    @property
    def node(self) -> Node | None:
        """What it needs of the tree; held there as long as the resource is."""
        return None


class Opened(Handle):
    """`descriptor`: an open file or directory, with what preview 1 knows of it."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: OpenFile | OpenDirectory) -> None:
        self.descriptor = descriptor

    @property
    def node(self) -> Node:
        """The file or directory."""
        return self.descriptor.node


class InputStream(Handle):
    """`input-stream`: what a descriptor gives from its position on. Never empty while open, so never waited for."""

    __slots__ = ("_ended", "_source")

    def __init__(self, source: Descriptor) -> None:
        self._source = source
        self._ended = False

    @property
    def node(self) -> Node | None:
        """The file, if it is one."""
        return self._source.node

    def read(self, length: int) -> bytes:
        """Return at least one byte and at most `length`, or 64 KiB. Raises `Closed` from the first end on."""
        if self._ended:
            raise Closed
        if not length:
            return b""
        data = bytes(self._source.read(min(length, CHUNK_MAX), None))
        if not data:
            self._ended = True
            raise Closed
        return data


class OutputStream(Handle):
    """`output-stream`: where a descriptor takes bytes, at its position or at the end. Has always room."""

    __slots__ = ("_target",)

    def __init__(self, target: Descriptor) -> None:
        self._target = target

    @property
    def node(self) -> Node | None:
        """The file, if it is one."""
        return self._target.node

    def write(self, data: bytes) -> None:
        """Write all of it. Raises `Failed` when only a part or nothing could be written."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._target.write([rest], None) :]


class Pollable(Handle):
    """`pollable`: ready at a monotonic instant in nanoseconds, or always (0)."""

    __slots__ = ("due",)

    def __init__(self, due: int = 0) -> None:
        self.due = due


class Failure(Handle):
    """`error`: why a stream failed."""

    __slots__ = ("errno",)

    def __init__(self, errno: Errno) -> None:
        self.errno = errno


class Entries(Handle):
    """`directory-entry-stream`: what is in a directory, entry by entry. What is added meanwhile is seen too."""

    __slots__ = ("_cookie", "_directory", "_tree")

    def __init__(self, tree: Tree, directory: Directory) -> None:
        self._tree = tree
        self._directory = directory
        # Behind the cookies of . and .., which are left out.
        self._cookie = 2

    @property
    def node(self) -> Node | None:
        """The directory."""
        return self._directory

    def next(self) -> tuple[bytes, Node] | None:
        """Return the next name and what has it, None at the end."""
        entry = next(self._tree.list(self._directory, self._cookie), None)
        if entry is None:
            return None
        self._cookie, name, node = entry
        return name, node


class Network(Handle):
    """`network`: the right to ask for what is then refused."""

    __slots__ = ()


class Nothing(Handle):
    """Resources that nobody ever has one of: sockets, terminals."""

    __slots__ = ()
