"""Preview 1 and WASI 0.2 do the same to a tree, and see the same of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wasmq_worker.wasi.preview2.codes import error_code
from wasmq_worker.wasi.rights import FD_READ, FD_WRITE, FileType

from .. import guest as preview1
from ..adapter import Clock, make_world
from .component import FOLLOW, Component, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq_worker.wasi import World

NONE: frozenset[str] = frozenset()
names = st.sampled_from(["a", "b", "c"])
paths = st.one_of(names, st.tuples(names, names).map("/".join), st.sampled_from(["a/", "b/..", ".", "../a", "/a", ""]))
letters = st.frozensets(st.sampled_from("cxtdf"), max_size=3).map(lambda each: "".join(sorted(each)))
follow = st.booleans()
operations = st.one_of(
    st.tuples(st.sampled_from(["mkdir", "rmdir", "unlink", "readlink"]), paths),
    st.tuples(st.sampled_from(["rename", "symlink"]), paths, paths),
    st.tuples(st.just("link"), paths, paths, follow),
    st.tuples(st.just("stat"), paths, follow),
    st.tuples(st.just("open"), paths, letters, st.booleans(), st.booleans()),
    st.tuples(st.just("write"), paths, st.binary(max_size=30), st.integers(0, 40)),
    st.tuples(st.just("resize"), paths, st.integers(0, 60)),
    st.tuples(st.just("read"), paths, st.integers(0, 20), st.integers(0, 20)),
)


def outcome(call: Callable[[], object]) -> object:
    """Return what a call returns, or the name of the error as WASI 0.2 has it."""
    try:
        return call()
    except preview1.Refused as refused:
        return error_code(refused.args[0])
    except Refused as refused:
        return refused.args[0]


class Old:
    """The operations as preview 1 has them."""

    def __init__(self, world: World) -> None:
        self.guest = preview1.Guest(world)

    def open(self, path: str, letters: str, read: bool, write: bool) -> str:
        """Open, return the type of it and close."""
        rights = FD_READ * read | FD_WRITE * write
        follow = "f" in letters
        at, length = self.guest.put_path(path)
        oflags = sum(1 << "cdxt".index(letter) for letter in letters if letter != "f")
        self.guest.call("path_open", preview1.ROOT, follow, at, length, oflags, rights, 0, 0, 0)
        fd = self.guest.result("<I")[0]
        kind = FileType(self.guest.fdstat(fd)[0])
        self.guest.close(fd)
        return "directory" if kind == FileType.DIRECTORY else "regular-file"

    def within(self, path: str, call: Callable[[int], Any]) -> Any:
        fd = self.guest.open(path, "f", rights=FD_READ | FD_WRITE)
        try:
            return call(fd)
        finally:
            self.guest.close(fd)

    def write(self, path: str, data: bytes, offset: int) -> object:
        return self.within(path, lambda fd: self.guest.write(fd, data, offset))

    def read(self, path: str, size: int, offset: int) -> object:
        return self.within(path, lambda fd: self.guest.read(fd, size, offset))

    def resize(self, path: str, size: int) -> object:
        return self.within(path, lambda fd: self.guest.call("fd_filestat_set_size", fd, size))

    def stat(self, path: str, follow: bool) -> object:
        found = self.guest.stat(path, follow=follow)
        times = tuple(found[name] for name in ("accessed", "modified", "changed"))
        kinds = {FileType.DIRECTORY: "directory", FileType.REGULAR_FILE: "regular-file"}
        return kinds.get(FileType(found["type"]), "symbolic-link"), found["links"], found["size"], times

    def readlink(self, path: str) -> str:
        return self.guest.readlink(path).decode()

    def names(self, path: str = ".") -> list[str]:
        return self.guest.names(path)

    def __getattr__(self, name: str) -> Callable[..., object]:
        """Return one of the operations that are the same there."""
        return {
            "mkdir": self.guest.mkdir,
            "rmdir": self.guest.rmdir,
            "unlink": self.guest.unlink,
            "rename": self.guest.rename,
            "symlink": self.guest.symlink,
            "link": lambda old, new, follow: self.guest.link(old, new, follow=follow),
        }[name]


class New:
    """The operations as WASI 0.2 has them."""

    def __init__(self, world: World) -> None:
        self.component = Component(world)

    def call(self, name: str, *args: Any) -> Any:
        return self.component.file(name, self.component.root, *args)

    def open(self, path: str, letters: str, read: bool, write: bool) -> object:
        flags = frozenset(name for name, wanted in (("read", read), ("write", write)) if wanted)
        wanted = frozenset(
            {"c": "create", "d": "directory", "x": "exclusive", "t": "truncate"}[letter]
            for letter in letters
            if letter != "f"
        )
        descriptor = self.call("open-at", FOLLOW if "f" in letters else NONE, path, wanted, flags)
        kind = self.component.file("get-type", descriptor)
        self.component.close(descriptor)
        return kind

    def within(self, path: str, call: Callable[[int], Any]) -> Any:
        descriptor = self.component.open(path, "f")
        try:
            return call(descriptor)
        finally:
            self.component.close(descriptor)

    def write(self, path: str, data: bytes, offset: int) -> object:
        return self.within(path, lambda each: self.component.file("write", each, data, offset))

    def read(self, path: str, size: int, offset: int) -> object:
        return self.within(path, lambda each: self.component.file("read", each, size, offset)[0])

    def resize(self, path: str, size: int) -> object:
        return self.within(path, lambda each: self.component.file("set-size", each, size))

    def stat(self, path: str, follow: bool) -> object:
        found = self.call("stat-at", FOLLOW if follow else NONE, path)
        names = ("data-access-timestamp", "data-modification-timestamp", "status-change-timestamp")
        times = tuple(found[name]["seconds"] * 10**9 + found[name]["nanoseconds"] for name in names)
        return found["type"], found["link-count"], found["size"], times

    def mkdir(self, path: str) -> object:
        return self.call("create-directory-at", path)

    def rmdir(self, path: str) -> object:
        return self.call("remove-directory-at", path)

    def unlink(self, path: str) -> object:
        return self.call("unlink-file-at", path)

    def rename(self, old: str, new: str) -> object:
        return self.call("rename-at", old, self.component.root, new)

    def symlink(self, target: str, path: str) -> object:
        return self.call("symlink-at", target, path)

    def link(self, old: str, new: str, follow: bool) -> object:
        return self.call("link-at", FOLLOW if follow else NONE, old, self.component.root, new)

    def readlink(self, path: str) -> object:
        return self.call("readlink-at", path)

    def names(self, path: str = ".") -> list[str]:
        return self.component.names(path)


def seen(view: Old | New) -> dict[str, object]:
    """Return all that there is to see of a tree, by path."""
    found: dict[str, object] = {}

    def walk(path: str) -> None:
        for name in view.names(path or "."):
            below = f"{path}/{name}" if path else name
            kind, links, size, times = view.stat(below, False)  # type: ignore[misc]
            found[below] = (kind, links, size, times)
            if kind == "directory":
                walk(below)
            elif kind == "symbolic-link":
                found[below] = (found[below], view.readlink(below))
            else:
                found[below] = (found[below], view.read(below, 1000, 0))

    walk("")
    return found


@given(operations=st.lists(operations, min_size=1, max_size=30))
@settings(max_examples=150, deadline=None)
def test_both_versions_do_the_same(operations: list[tuple[Any, ...]]) -> None:
    """Call by call the same result or the same error; then each sees of the other's tree what it sees of its own."""
    worlds = [make_world(Clock(), files={"a/b": b"text"}, quota=100, max_entries=8) for _ in range(2)]
    old, new = Old(worlds[0]), New(worlds[1])
    for name, *args in operations:
        results = [outcome(partial(getattr(view, name), *args)) for view in (old, new)]
        assert results[0] == results[1], (name, args)
    assert worlds[0].tree.size == worlds[1].tree.size <= 100
    assert worlds[0].tree.entries == worlds[1].tree.entries <= 8
    views = [seen(view) for world in worlds for view in (Old(world), New(world))]
    assert views[0] == views[1] == views[2] == views[3]
