"""A guest without a program: calls our functions one by one, with a small memory of its own."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from wasmq_worker.wasi import FUNCTIONS
from wasmq_worker.wasi.errno import Errno
from wasmq_worker.wasi.rights import FILE, FileType

from .adapter import make_world

if TYPE_CHECKING:
    from wasmq_worker.wasi import World

SIZE = 1 << 16
ROOT = 3
RIGHTS = FILE
# Where in its memory a guest keeps what.
_OUT, _VECTORS, _PATHS, _BUFFER = 0, 256, 0x4000, 0x8000


class Refused(Exception):
    """A function returned an error; it is the only argument."""


class Guest:
    """Every method is one call, or raises `Refused` with the `Errno`."""

    def __init__(self, world: World | None = None, **settings: Any) -> None:
        self.world = world or make_world(**settings)
        self.memory = memoryview(bytearray(SIZE))

    def raw(self, name: str, *args: int) -> int:
        return FUNCTIONS[name][2](self.world, self.memory, *args)

    def call(self, name: str, *args: int) -> None:
        if error := self.raw(name, *args):
            raise Refused(Errno(error))

    def result(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack_from(layout, self.memory, _OUT)

    def put_path(self, path: str | bytes, slot: int = 0) -> tuple[int, int]:
        data = path.encode() if isinstance(path, str) else path
        at = _PATHS + slot * 0x1800
        self.memory[at : at + len(data)] = data
        return at, len(data)

    def put_vectors(self, *vectors: tuple[int, int]) -> tuple[int, int]:
        for index, vector in enumerate(vectors):
            struct.pack_into("<II", self.memory, _VECTORS + 8 * index, *vector)
        return _VECTORS, len(vectors)

    def open(
        self, path: str | bytes, flags: str = "", *, fd: int = ROOT, fdflags: int = 0, rights: int = RIGHTS
    ) -> int:
        """Open with the letters of c(reate), d(irectory), x(exclusive), t(runcate), f(ollow)."""
        oflags = sum(1 << "cdxt".index(letter) for letter in flags if letter != "f")
        base = 0 if "d" in flags else rights
        at, length = self.put_path(path)
        self.call("path_open", fd, "f" in flags, at, length, oflags, base, RIGHTS, fdflags, _OUT)
        return self.result("<I")[0]

    def close(self, fd: int) -> None:
        self.call("fd_close", fd)

    def write(self, fd: int, data: bytes, offset: int | None = None) -> int:
        self.memory[_BUFFER : _BUFFER + len(data)] = data
        at, count = self.put_vectors((_BUFFER, len(data)))
        if offset is None:
            self.call("fd_write", fd, at, count, _OUT)
        else:
            self.call("fd_pwrite", fd, at, count, offset, _OUT)
        return self.result("<I")[0]

    def read(self, fd: int, size: int = 0x4000, offset: int | None = None) -> bytes:
        at, count = self.put_vectors((_BUFFER, size))
        if offset is None:
            self.call("fd_read", fd, at, count, _OUT)
        else:
            self.call("fd_pread", fd, at, count, offset, _OUT)
        return bytes(self.memory[_BUFFER : _BUFFER + self.result("<I")[0]])

    def seek(self, fd: int, offset: int, whence: int = 0) -> int:
        self.call("fd_seek", fd, offset & (1 << 64) - 1, whence, _OUT)
        return self.result("<Q")[0]

    def stat(self, path: str | bytes, *, follow: bool = False, fd: int = ROOT) -> dict[str, int]:
        self.call("path_filestat_get", fd, follow, *self.put_path(path), _OUT)
        return self._filestat()

    def fstat(self, fd: int) -> dict[str, int]:
        self.call("fd_filestat_get", fd, _OUT)
        return self._filestat()

    def _filestat(self) -> dict[str, int]:
        names = ("device", "inode", "type", "links", "size", "accessed", "modified", "changed")
        return dict(zip(names, self.result("<QQB7xQQQQQ"), strict=True))

    def type(self, path: str | bytes) -> FileType:
        return FileType(self.stat(path)["type"])

    def fdstat(self, fd: int) -> tuple[int, int, int, int]:
        self.call("fd_fdstat_get", fd, _OUT)
        return self.result("<BxH4xQQ")  # type: ignore[return-value]

    def mkdir(self, path: str | bytes, *, fd: int = ROOT) -> None:
        self.call("path_create_directory", fd, *self.put_path(path))

    def rmdir(self, path: str | bytes, *, fd: int = ROOT) -> None:
        self.call("path_remove_directory", fd, *self.put_path(path))

    def unlink(self, path: str | bytes, *, fd: int = ROOT) -> None:
        self.call("path_unlink_file", fd, *self.put_path(path))

    def rename(self, old: str, new: str, *, fd: int = ROOT, new_fd: int = ROOT) -> None:
        self.call("path_rename", fd, *self.put_path(old), new_fd, *self.put_path(new, 1))

    def link(self, old: str, new: str, *, follow: bool = False) -> None:
        self.call("path_link", ROOT, follow, *self.put_path(old), ROOT, *self.put_path(new, 1))

    def symlink(self, target: str | bytes, path: str, *, fd: int = ROOT) -> None:
        self.call("path_symlink", *self.put_path(target), fd, *self.put_path(path, 1))

    def readlink(self, path: str, size: int = 4096) -> bytes:
        self.call("path_readlink", ROOT, *self.put_path(path), _BUFFER, size, _OUT)
        return bytes(self.memory[_BUFFER : _BUFFER + self.result("<I")[0]])

    def make(self, path: str | bytes, data: bytes = b"") -> None:
        """Make a file, or write over one."""
        fd = self.open(path, "ctf")
        self.write(fd, data)
        self.close(fd)

    def contents(self, path: str | bytes) -> bytes:
        fd = self.open(path, "f")
        data = self.read(fd)
        self.close(fd)
        return data

    def readdir(self, fd: int, size: int = 0x4000, cookie: int = 0) -> tuple[list[tuple[int, str, FileType]], bool]:
        """Return cookie, name and type of the whole entries in one buffer, and whether it was all of them."""
        self.call("fd_readdir", fd, _BUFFER, size, cookie, _OUT)
        used = self.result("<I")[0]
        data = bytes(self.memory[_BUFFER : _BUFFER + used])
        found = []
        while len(data) >= 24:
            following, _, length, kind = struct.unpack_from("<QQIB", data)
            if len(data) < 24 + length:
                break
            found.append((following, data[24 : 24 + length].decode(), FileType(kind)))
            data = data[24 + length :]
        return found, used < size

    def names(self, path: str = ".") -> list[str]:
        """Return all names in a directory but . and .. in order."""
        fd = self.open(path, "df")
        found = [name for _, name, _ in self.readdir(fd)[0]]
        self.close(fd)
        assert found[:2] == [".", ".."]
        return found[2:]
