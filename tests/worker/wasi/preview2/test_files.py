"""Files and directories as `wasi:filesystem` has them. What the tree itself does is tested with preview 1."""

from __future__ import annotations

import pytest

from wasmq_worker.wasi import Violated
from wasmq_worker.wasi.environment import EPOCH, TICK
from wasmq_worker.wasi.errno import Errno
from wasmq_worker.wasi.preview2 import Case
from wasmq_worker.wasi.preview2.codes import ERROR_CODE, error_code
from wasmq_worker.wasi.preview2.wit import parse

from ..adapter import Clock, make_world
from .component import FOLLOW, READ_WRITE, Component, refused

NONE: frozenset[str] = frozenset()
READ = frozenset(("read",))
WRITE = frozenset(("write",))
SECOND = 10**9
KEEP, NOW = Case("no-change"), Case("now")


def at(seconds: int, nanoseconds: int = 0) -> Case:
    return Case("timestamp", {"seconds": seconds, "nanoseconds": nanoseconds})


@pytest.fixture
def nested() -> Component:
    """A component with a file two directories down, and links to it and to its directory."""
    component = Component(files={"dir/nested/file": b"text"})
    for target, path in (("nested", "dir/link"), ("dir/nested/file", "link"), ("nothing", "dangling")):
        component.file("symlink-at", component.root, target, path)
    return component


def test_there_is_one_directory_from_the_start(component: Component) -> None:
    """It is called / and can be read and changed; each call gives handles of its own."""
    first, second = (component.call("filesystem/preopens", "get-directories") for _ in range(2))
    assert [name for _, name in first] == ["/"]
    assert first != second
    assert component.file("is-same-object", first[0][0], second[0][0])
    assert component.file("get-flags", component.root) == {"read", "mutate-directory"}
    assert component.file("get-type", component.root) == "directory"
    component.close(first[0][0])
    assert component.names() == []


def test_every_preopened_directory_is_listed() -> None:
    """Directories with names of their own are there besides, and lead nowhere else."""
    component = Component(files={"data/file": b"text"}, dirs={"/data": False, "new": False})
    assert list(component.preopens) == ["/data", "new", "/"]
    assert component.names_in(component.preopens["/data"]) == ["file"]
    assert component.names_in(component.preopens["new"]) == []
    assert refused(lambda: component.open("../data/file", at=component.preopens["/data"])) == "not-permitted"
    assert component.names() == ["data", "new"]


@pytest.mark.parametrize("below", ["", "data/"])
def test_what_is_frozen_is_read_only(below: str) -> None:
    """Whether reached by its own descriptor or by a path from above, nothing in it can be changed."""
    component = Component(files={"data/file": b"text", "data/dir/x": b""}, dirs={"data": True})
    data = component.preopens["data"]
    base = component.root if below else data
    assert component.file("get-flags", data) == {"read"}
    assert component.file("get-flags", component.open(f"{below}dir", "d", at=base)) == {"read"}
    for letters, flags in (("c", READ), ("t", READ), ("", READ_WRITE), ("", WRITE), ("", READ | {"mutate-directory"})):
        name = "dir" if "mutate-directory" in flags else "new" if letters == "c" else "file"
        call = (f"{below}{name}", letters, flags)
        assert refused(lambda call=call: component.open(*call, at=base)) == "read-only"
    file = component.open(f"{below}file", flags=READ, at=base)
    assert component.file("read", file, 9, 0) == (b"text", True)
    for name, *args in (
        ("create-directory-at", base, f"{below}new"),
        ("remove-directory-at", base, f"{below}dir/"),
        ("unlink-file-at", base, f"{below}file"),
        ("symlink-at", base, "x", f"{below}new"),
        ("link-at", base, NONE, f"{below}file", base, f"{below}new"),
        ("rename-at", base, f"{below}file", base, f"{below}new"),
        ("rename-at", base, f"{below}file", component.root, "new"),
        ("set-times-at", base, NONE, f"{below}file", NOW, NOW),
        ("set-times", data, NOW, NOW),
    ):
        expected = "not-empty" if name == "remove-directory-at" else "read-only"
        assert refused(lambda name=name, args=args: component.file(name, *args)) == expected
    assert component.names_in(data) == ["file", "dir"]


def test_opening_says_what_can_be_done(component: Component) -> None:
    """A file gets what was asked for and no more; a directory can be changed without asking."""
    component.make("file", b"text")
    component.file("create-directory-at", component.root, "dir")
    for flags in (NONE, READ, WRITE, READ_WRITE):
        file = component.open("file", flags=flags | {"file-integrity-sync"})
        assert component.file("get-flags", file) == flags
        assert component.file("get-type", file) == "regular-file"
        if "read" in flags:
            assert component.file("read", file, 9, 0) == (b"text", True)
        else:
            assert refused(lambda file=file: component.file("read", file, 9, 0)) == "bad-descriptor"
        if "write" in flags:
            assert component.file("write", file, b"text", 0) == 4
        else:
            assert refused(lambda file=file: component.file("write", file, b"x", 0)) == "bad-descriptor"
            assert refused(lambda file=file: component.file("set-size", file, 0)) == "bad-descriptor"
    directory = component.open("dir", "d")
    assert component.file("get-flags", directory) == {"read", "mutate-directory"}
    component.file("create-directory-at", directory, "below")
    assert refused(lambda: component.open("dir")) == "is-directory"
    assert component.file("get-type", component.open("dir", flags=READ)) == "directory"


def test_opening_makes_and_empties(nested: Component) -> None:
    """Create, exclusive, truncate and directory mean what they do in POSIX."""
    assert refused(lambda: nested.open("new")) == "no-entry"
    nested.make("new", b"abc")
    assert refused(lambda: nested.open("new", "cx")) == "exist"
    nested.open("new", "c")
    assert nested.contents("new") == b"abc"
    nested.open("new", "t")
    assert nested.contents("new") == b""
    assert refused(lambda: nested.open("new", "d")) == "not-directory"
    assert refused(lambda: nested.open("new", "cd")) == "invalid"
    assert refused(lambda: nested.open("dir", "c")) == "is-directory"
    assert refused(lambda: nested.open("dangling", "cxf")) == "exist"
    assert refused(lambda: nested.open("link")) == "loop"
    assert refused(lambda: nested.open("x", at=nested.open("new"))) == "not-directory"
    assert nested.contents("link") == b"text"
    nested.open("dangling", "cf")
    assert "nothing" in nested.names()


@pytest.mark.parametrize("path", ["/dir", "..", "../x", "dir/../..", "dir/nested/../../../dir", "up/x"])
def test_nothing_outside_is_reached(nested: Component, path: str) -> None:
    """An absolute path, or one that climbs above its start, is not permitted for any function."""
    nested.file("symlink-at", nested.root, "..", "dir/up")
    base = nested.open("dir", "d") if path.startswith("up") else nested.root
    calls = [
        ("create-directory-at", path),
        ("stat-at", FOLLOW, path),
        ("set-times-at", FOLLOW, path, NOW, NOW),
        ("link-at", NONE, path, nested.root, "new"),
        ("open-at", FOLLOW, path, frozenset(("create",)), READ_WRITE),
        ("readlink-at", path),
        ("remove-directory-at", path),
        ("rename-at", path, nested.root, "new"),
        ("symlink-at", "target", path),
        ("unlink-file-at", path),
        ("metadata-hash-at", FOLLOW, path),
    ]
    for name, *args in calls:
        assert refused(lambda name=name, args=args: nested.file(name, base, *args)) == "not-permitted"
    for name in ("link-at", "rename-at"):
        flags = [NONE] if name == "link-at" else []
        args = [*flags, "link", base, path]
        assert refused(lambda name=name, args=args: nested.file(name, nested.root, *args)) == "not-permitted"
    assert refused(lambda: nested.file("symlink-at", nested.root, "/dir", "new")) == "not-permitted"
    assert nested.names() == ["dir", "link", "dangling"]


def test_reading_and_writing_at_an_offset(component: Component) -> None:
    """Gaps are zeros; the end is said with the last byte, and when there is nothing."""
    file = component.open("file", "c")
    assert component.file("write", file, b"abc", 2) == 3
    assert component.file("read", file, 10, 0) == (b"\0\0abc", True)
    assert component.file("read", file, 4, 0) == (b"\0\0ab", False)
    assert component.file("read", file, 5, 0) == (b"\0\0abc", True)
    assert component.file("read", file, 5, 5) == (b"", True)
    assert component.file("read", file, 5, (1 << 64) - 1) == (b"", True)
    assert component.file("read", file, 0, 0) == (b"", True)
    assert component.file("write", file, b"", 100) == 0
    assert component.file("stat", file)["size"] == 5
    for name, args in (("read", (1, 0)), ("write", (b"x", 0)), ("set-size", (0,)), ("advise", (0, 0, "normal"))):
        call = (name, component.root, *args)
        assert refused(lambda call=call: component.file(*call)) == "is-directory"


def test_the_quota_holds() -> None:
    """A write is as long as there is room for, and refused when there is none; so are names."""
    component = Component(quota=10, max_entries=2)
    file = component.open("file", "c")
    assert component.file("write", file, b"x" * 20, 4) == 6
    assert refused(lambda: component.file("write", file, b"x", 10)) == "insufficient-space"
    assert refused(lambda: component.file("set-size", file, 11)) == "insufficient-space"
    assert refused(lambda: component.file("set-size", file, 1 << 63)) == "invalid"
    component.file("set-size", file, 3)
    assert component.file("read", file, 10, 0) == (b"\0\0\0", True)
    component.file("symlink-at", component.root, "1234567", "link")
    assert component.world.tree.size == 10
    for name, args in (("create-directory-at", ("x",)), ("link-at", (NONE, "file", component.root, "x"))):
        call = (name, component.root, *args)
        assert refused(lambda call=call: component.file(*call)) == "insufficient-space"


def test_one_write_is_not_longer_than_16_mib() -> None:
    """The rest is for the next call, as nothing else runs meanwhile."""
    component = Component(quota=1 << 25)
    file = component.open("file", "c")
    assert component.file("write", file, bytes((1 << 24) + 1), 0) == 1 << 24


def test_what_does_nothing_and_what_is_refused(component: Component) -> None:
    """Everything is synchronous; advice must be about places that a file can have."""
    component.make("file")
    file = component.open("file")
    for descriptor in (file, component.root):
        component.file("sync", descriptor)
        component.file("sync-data", descriptor)
    component.file("advise", file, 0, (1 << 63) - 1, "will-need")
    assert refused(lambda: component.file("advise", file, 1 << 63, 0, "normal")) == "invalid"


def test_what_is_known_of_a_file(nested: Component) -> None:
    """Type, links, size and times, of what is open, of a path and of the link at its end."""
    clock = Clock()
    component = Component(make_world(clock, files={"file": b"text"}))
    now = {"seconds": clock.wall // SECOND, "nanoseconds": clock.wall % SECOND}
    expected = {
        "type": "regular-file",
        "link-count": 1,
        "size": 4,
        "data-access-timestamp": now,
        "data-modification-timestamp": now,
        "status-change-timestamp": now,
    }
    assert component.file("stat", component.open("file")) == expected
    assert component.file("stat-at", component.root, NONE, "file") == expected
    assert nested.file("stat-at", nested.root, NONE, "link")["type"] == "symbolic-link"
    assert nested.file("stat-at", nested.root, NONE, "link")["size"] == len("dir/nested/file")
    assert nested.file("stat-at", nested.root, FOLLOW, "link")["type"] == "regular-file"
    assert nested.file("stat", nested.root)["type"] == "directory"
    assert refused(lambda: nested.file("stat-at", nested.root, FOLLOW, "dangling")) == "no-entry"
    assert refused(lambda: nested.file("stat-at", nested.root, NONE, "dir/nested/file/")) == "not-directory"
    assert refused(lambda: nested.file("stat-at", nested.root, NONE, "")) == "no-entry"
    assert refused(lambda: nested.file("stat-at", nested.root, NONE, "x" * 5000)) == "name-too-long"
    assert refused(lambda: nested.file("stat-at", nested.root, NONE, "a\0")) == "invalid"


def test_times_are_set() -> None:
    """To a given time, to now, or not at all; what no clock can show is refused and changes nothing."""
    clock = Clock()
    component = Component(make_world(clock, files={"file": b""}))
    file = component.open("file")
    component.file("set-times", file, at(1, 2), KEEP)
    clock.pass_until(clock.monotonic + 5 * SECOND)
    component.file("set-times-at", component.root, NONE, "file", KEEP, NOW)
    stat = component.file("stat", file)
    assert stat["data-access-timestamp"] == {"seconds": 1, "nanoseconds": 2}
    assert stat["data-modification-timestamp"]["seconds"] == clock.wall // SECOND
    assert stat["status-change-timestamp"]["seconds"] == clock.wall // SECOND
    assert refused(lambda: component.file("set-times", file, at(0, SECOND), KEEP)) == "invalid"
    assert refused(lambda: component.file("set-times", file, KEEP, at((1 << 64) - 1))) == "overflow"
    assert refused(lambda: component.file("set-times-at", component.root, NONE, "x", NOW, NOW)) == "no-entry"
    assert component.file("stat", file) == stat
    largest = (1 << 64) - 1
    component.file("set-times", component.root, at(largest // SECOND, largest % SECOND), at(0))
    assert component.file("stat", component.root)["data-modification-timestamp"] == {"seconds": 0, "nanoseconds": 0}


def test_deterministic_times() -> None:
    """Both times that are set to now are the same instant of the job's own clock."""
    component = Component(deterministic=True, files={"file": b""})
    component.file("set-times-at", component.root, NONE, "file", NOW, NOW)
    stat = component.file("stat-at", component.root, NONE, "file")
    assert stat["data-access-timestamp"] == stat["data-modification-timestamp"]
    assert stat["data-access-timestamp"]["seconds"] == EPOCH // SECOND
    assert stat["data-access-timestamp"]["nanoseconds"] % TICK == 0


def test_names_are_listed(nested: Component) -> None:
    """Without . and .., in the order of their making, each with its type."""
    stream = nested.file("read-directory", nested.root)
    assert nested.entry(stream) == {"type": "directory", "name": "dir"}
    assert nested.entry(stream) == {"type": "symbolic-link", "name": "link"}
    nested.file("unlink-file-at", nested.root, "dangling")
    nested.make("zwölf")
    assert nested.entry(stream) == {"type": "regular-file", "name": "zwölf"}
    assert nested.entry(stream) is None
    assert nested.entry(stream) is None
    assert refused(lambda: nested.file("read-directory", nested.open("zwölf"))) == "not-directory"
    with pytest.raises(Violated, match="Entries"):
        nested.entry(nested.root)


def test_two_lists_of_one_directory(nested: Component) -> None:
    """They do not disturb each other, and outlive the descriptor and the directory's name."""
    directory = nested.open("dir", "d")
    first, second = (nested.file("read-directory", directory) for _ in range(2))
    nested.close(directory)
    assert nested.entry(first)["name"] == "nested"
    nested.file("unlink-file-at", nested.root, "dir/nested/file")
    nested.file("remove-directory-at", nested.root, "dir/nested")
    nested.file("unlink-file-at", nested.root, "dir/link")
    nested.file("remove-directory-at", nested.root, "dir")
    assert nested.entry(first) is None
    assert nested.entry(second) is None


def test_directories(nested: Component) -> None:
    """A directory is made once, and removed when it is empty."""
    assert refused(lambda: nested.file("create-directory-at", nested.root, "dir")) == "exist"
    assert refused(lambda: nested.file("create-directory-at", nested.root, "x/y")) == "no-entry"
    assert refused(lambda: nested.file("remove-directory-at", nested.root, "dir")) == "not-empty"
    assert refused(lambda: nested.file("remove-directory-at", nested.root, "link")) == "not-directory"
    nested.file("create-directory-at", nested.root, "new")
    nested.file("remove-directory-at", nested.root, "new")
    assert "new" not in nested.names()


def test_links_and_renames(nested: Component) -> None:
    """Hard links share the file, and follow a symbolic link if told; symbolic links say where they lead."""
    root = nested.root
    nested.file("link-at", root, NONE, "dir/nested/file", root, "hard")
    nested.file("link-at", root, FOLLOW, "link", root, "followed")
    nested.file("link-at", root, NONE, "link", root, "same-link")
    assert nested.file("stat-at", root, NONE, "hard")["link-count"] == 3
    assert nested.file("is-same-object", nested.open("hard"), nested.open("followed"))
    assert not nested.file("is-same-object", nested.open("hard"), root)
    assert nested.file("readlink-at", root, "same-link") == "dir/nested/file"
    assert refused(lambda: nested.file("link-at", root, NONE, "dir", root, "x")) == "not-permitted"
    assert refused(lambda: nested.file("link-at", root, NONE, "hard", root, "link")) == "exist"
    assert refused(lambda: nested.file("readlink-at", root, "hard")) == "invalid"
    below = nested.open("dir", "d")
    nested.file("rename-at", root, "hard", below, "moved")
    assert nested.contents("dir/moved") == b"text"
    assert refused(lambda: nested.file("rename-at", root, "dir", below, "x")) == "invalid"
    assert refused(lambda: nested.file("rename-at", root, "missing", below, "x")) == "no-entry"
    assert refused(lambda: nested.file("unlink-file-at", root, "dir")) == "is-directory"
    nested.file("unlink-file-at", below, "moved")
    assert nested.names("dir") == ["nested", "link"]


def test_a_hash_tells_files_apart_and_changes_with_them() -> None:
    """The same for what is open and its path; another one for another file, or after a change."""
    clock = Clock()
    component = Component(make_world(clock, files={"a": b"1", "b": b"1"}))
    file = component.open("a")

    def hashed(path: str) -> tuple[int, int]:
        value = component.file("metadata-hash-at", component.root, NONE, path)
        return value["lower"], value["upper"]

    first = hashed("a")
    assert first == hashed("a") == tuple(component.file("metadata-hash", file).values())
    assert first != hashed("b")
    component.file("write", file, b"22", 0)
    second = hashed("a")
    assert second != first
    clock.pass_until(clock.monotonic + 1)
    component.file("write", file, b"33", 0)
    assert hashed("a") not in (first, second)
    assert refused(lambda: hashed("c")) == "no-entry"


def test_paths_and_names_are_paid_for(nested: Component) -> None:
    """A path costs its bytes, whether or not it leads anywhere; a name that is listed does too."""
    before = nested.world.moved
    refused(lambda: nested.file("stat-at", nested.root, NONE, "ä" * 50))
    assert nested.world.moved - before == 100
    before = nested.world.moved
    assert nested.file("readlink-at", nested.root, "link") == "dir/nested/file"
    assert nested.world.moved - before == len("link") + len("dir/nested/file")
    stream = nested.file("read-directory", nested.root)
    nested.entry(stream)
    before = nested.world.moved
    nested.entry(stream)
    assert nested.world.moved - before >= len("link")


def test_unknown_descriptors_are_violations(component: Component) -> None:
    """So is one of two that is unknown."""
    file = component.open("file", "c")
    component.close(file)
    with pytest.raises(Violated, match="Opened"):
        component.close(file)
    for name, args in (("stat", ()), ("sync", ()), ("stat-at", (NONE, "x")), ("read", (1, 0)), ("get-flags", ())):
        with pytest.raises(Violated, match="Opened"):
            component.file(name, file, *args)
    for name in ("rename-at", "link-at"):
        flags = [NONE] if name == "link-at" else []
        with pytest.raises(Violated, match="Opened"):
            component.file(name, component.root, *flags, "file", file, "y")
    with pytest.raises(Violated, match="Opened"):
        component.file("is-same-object", component.root, file)


def test_every_error_has_a_code() -> None:
    """Each that the file system raises has one of the specification's."""
    codes = {name for name, _ in parse(ERROR_CODE).parts}
    assert {error_code(errno) for errno in Errno} <= codes
    assert error_code(Errno.MFILE) == "insufficient-memory"
    assert error_code(Errno.NOTCAPABLE) == "not-permitted"
    assert error_code(Errno.PROTO) == "io"
