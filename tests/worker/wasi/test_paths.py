"""Where paths lead, what they may not do, and what each function on them refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wasmq_worker.wasi.errno import Errno
from wasmq_worker.wasi.rights import FD_READ, FD_WRITE, FileType

from .guest import Guest, Refused

if TYPE_CHECKING:
    from collections.abc import Callable


def refused(call: Callable[[], object]) -> Errno:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.args[0]


@pytest.fixture
def nested(guest: Guest) -> Guest:
    """A guest with dir/nested/file and links to it."""
    guest.mkdir("dir")
    guest.mkdir("dir/nested")
    guest.make("dir/nested/file", b"text")
    guest.symlink("dir/nested", "down")
    guest.symlink("nested/file", "dir/link")
    guest.symlink("../..", "dir/nested/up")
    guest.symlink("../../..", "dir/nested/out")
    guest.symlink("loop", "loop")
    guest.symlink("nothing", "dangling")
    return guest


@pytest.mark.parametrize(
    "path",
    [
        "dir/nested/file",
        "./dir/.//nested/../../dir/nested/../nested///./file",
        "down/file",
        "dir/link",
        "down/up/down/up/dir/link",
    ],
)
def test_ways_to_a_file(nested: Guest, path: str) -> None:
    """Dots, double slashes and links on the way lead where they do everywhere."""
    assert nested.contents(path) == b"text"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", Errno.NOENT),
        ("/dir", Errno.PERM),
        ("..", Errno.PERM),
        ("dir/../../dir", Errno.PERM),
        ("dir/nested/out/dir", Errno.PERM),
        ("loop", Errno.LOOP),
        ("loop/x", Errno.LOOP),
        ("dangling", Errno.NOENT),
        ("missing/file", Errno.NOENT),
        ("dir/nested/file/", Errno.NOTDIR),
        ("dir/nested/file///", Errno.NOTDIR),
        ("dir/nested/file/.", Errno.NOTDIR),
        ("dir/link/x", Errno.NOTDIR),
        ("dir\0", Errno.INVAL),
        (b"\xff", Errno.ILSEQ),
        (b"\xed\xa0\x80", Errno.ILSEQ),
        ("n" * 256, Errno.NAMETOOLONG),
        ("d/" * 2049, Errno.NAMETOOLONG),
    ],
)
def test_paths_that_lead_nowhere(nested: Guest, path: str | bytes, error: Errno) -> None:
    """What leaves the directory it starts from, is no path, or meets what is not there, is refused as in POSIX."""
    assert refused(lambda: nested.open(path, "f")) == error
    assert refused(lambda: nested.stat(path, follow=True)) == error


def test_a_name_may_be_as_long_as_names_go(guest: Guest) -> None:
    """255 bytes are one name, whatever they spell."""
    name = "é" * 127 + "x"
    guest.make(name)
    assert guest.names() == [name]


def test_nothing_leaves_the_directory_that_it_starts_from(nested: Guest) -> None:
    """An open directory is a root of its own, although the guest has the one above it too."""
    fd = nested.open("dir", "d")
    assert refused(lambda: nested.open("../dir", "d", fd=fd)) == Errno.PERM
    assert refused(lambda: nested.open("nested/up", "df", fd=fd)) == Errno.PERM
    nested.stat("nested/..", fd=fd)


def test_links_upon_links_end(guest: Guest) -> None:
    """Many links, or few that are long, end in an error after bounded work."""
    guest.mkdir("d")
    guest.symlink("d", "0")
    for index in range(1, 40):
        guest.symlink(str(index - 1), str(index))
    guest.stat("31", follow=True)
    assert refused(lambda: guest.stat("32", follow=True)) == Errno.LOOP
    guest.symlink("./" * 2000 + "d", "long")
    guest.symlink("long/../" * 5 + "d", "longer")
    assert refused(lambda: guest.stat("longer", follow=True)) == Errno.LOOP
    before = guest.world.moved
    guest.stat("long", follow=True)
    assert guest.world.moved - before > 4000


def test_a_link_is_not_followed_unless_told(nested: Guest) -> None:
    """Without following, a link at the end of a path is the link itself; opening one is refused."""
    assert nested.type("dir/link") == FileType.SYMBOLIC_LINK
    assert nested.stat("dir/link")["size"] == len("nested/file")
    assert nested.stat("dir/link", follow=True)["type"] == FileType.REGULAR_FILE
    assert refused(lambda: nested.open("dir/link")) == Errno.LOOP
    assert refused(lambda: nested.open("down", "d")) == Errno.LOOP
    nested.open("down", "df")
    assert refused(lambda: nested.open("dir/link", "df")) == Errno.NOTDIR
    assert nested.readlink("dangling") == b"nothing"
    assert nested.readlink("dangling", 4) == b"noth"
    assert refused(lambda: nested.readlink("dir")) == Errno.INVAL


def test_opening_makes_and_empties(nested: Guest) -> None:
    """Create, exclusive, truncate and directory mean what they do in POSIX."""
    assert refused(lambda: nested.open("new")) == Errno.NOENT
    fd = nested.open("new", "cx")
    assert refused(lambda: nested.open("new", "cx")) == Errno.EXIST
    assert nested.write(fd, b"abc") == 3
    nested.open("new", "c")
    assert nested.contents("new") == b"abc"
    nested.open("new", "t")
    assert nested.contents("new") == b""
    assert nested.world.tree.size == nested.world.tree.quota - room(nested)
    assert refused(lambda: nested.open("dangling", "cxf")) == Errno.EXIST
    nested.open("dangling", "cf")
    assert nested.type("nothing") == FileType.REGULAR_FILE
    assert refused(lambda: nested.open("other/", "c")) == Errno.ISDIR
    assert refused(lambda: nested.open("dir", "c")) == Errno.ISDIR
    assert refused(lambda: nested.open("dir", rights=FD_READ | FD_WRITE)) == Errno.ISDIR
    assert refused(lambda: nested.open("new", "d")) == Errno.NOTDIR
    assert refused(lambda: nested.open("other", "cd")) == Errno.INVAL
    assert refused(lambda: nested.open("x", fd=fd)) == Errno.NOTDIR
    assert refused(lambda: nested.open("x", fd=99)) == Errno.BADF
    nested.open("dir/", "d")


def room(guest: Guest) -> int:
    """Return what is left of the quota, counted file by file."""

    def walk(path: str) -> int:
        total = 0
        for name in guest.names(path):
            below = f"{path}/{name}"
            total += walk(below) if guest.type(below) == FileType.DIRECTORY else guest.stat(below)["size"]
        return total

    return guest.world.tree.quota - walk(".")


def test_directories(nested: Guest) -> None:
    """A directory is made once, and removed when it is empty."""
    assert refused(lambda: nested.mkdir("dir")) == Errno.EXIST
    assert refused(lambda: nested.mkdir(".")) == Errno.EXIST
    assert refused(lambda: nested.mkdir("dangling")) == Errno.EXIST
    assert refused(lambda: nested.mkdir("missing/dir")) == Errno.NOENT
    nested.mkdir("slashed/")
    nested.rmdir("slashed/")
    assert refused(lambda: nested.rmdir("slashed")) == Errno.NOENT
    assert refused(lambda: nested.rmdir("dir")) == Errno.NOTEMPTY
    assert refused(lambda: nested.rmdir("dir/nested/file")) == Errno.NOTDIR
    assert refused(lambda: nested.rmdir("down")) == Errno.NOTDIR
    assert refused(lambda: nested.rmdir(".")) == Errno.INVAL


def test_a_removed_directory_stays_open_and_empty(guest: Guest) -> None:
    """Nothing can be put into a directory that has no name any more, and nothing is lost by it."""
    guest.mkdir("dir")
    fd = guest.open("dir", "d")
    guest.rmdir("dir")
    assert refused(lambda: guest.open("x", "c", fd=fd)) == Errno.NOENT
    assert refused(lambda: guest.mkdir("x", fd=fd)) == Errno.NOENT
    guest.make("file")
    assert refused(lambda: guest.rename("file", "x", new_fd=fd)) == Errno.NOENT
    assert [name for _, name, _ in guest.readdir(fd)[0]] == [".", ".."]
    assert guest.fstat(fd)["links"] == 0


def test_removing_files(nested: Guest) -> None:
    """Only what is no directory can be unlinked; a link goes, not what it leads to."""
    assert refused(lambda: nested.unlink("dir")) == Errno.ISDIR
    assert refused(lambda: nested.unlink("dir/")) == Errno.ISDIR
    assert refused(lambda: nested.unlink("dir/nested/file/")) == Errno.NOTDIR
    assert refused(lambda: nested.unlink("missing")) == Errno.NOENT
    nested.unlink("dir/link")
    assert nested.contents("dir/nested/file") == b"text"


def test_renaming_files(guest: Guest) -> None:
    """A file replaces a file, and never a directory; a second name of the same file stays."""
    guest.make("a", b"a")
    guest.make("b", b"b")
    guest.mkdir("dir")
    assert refused(lambda: guest.rename("a", "dir")) == Errno.ISDIR
    assert refused(lambda: guest.rename("a", "new/")) == Errno.NOTDIR
    assert refused(lambda: guest.rename("a/", "new")) == Errno.NOTDIR
    assert refused(lambda: guest.rename("missing", "new")) == Errno.NOENT
    assert refused(lambda: guest.rename(".", "new")) == Errno.BUSY
    guest.rename("a", "b")
    assert guest.contents("b") == b"a"
    guest.link("b", "c")
    guest.rename("b", "c")
    guest.rename("b", "b")
    assert guest.names() == ["dir", "b", "c"]
    guest.rename("b", "dir/b")
    assert guest.contents("dir/b") == b"a"


def test_renaming_directories(guest: Guest) -> None:
    """A directory replaces an empty directory, and never becomes part of itself."""
    guest.mkdir("source")
    guest.make("source/file", b"text")
    guest.rename("source", "target")
    assert refused(lambda: guest.open("source", "d")) == Errno.NOENT
    guest.mkdir("source")
    guest.rename("target", "source/")
    assert guest.contents("source/file") == b"text"
    guest.mkdir("target")
    assert refused(lambda: guest.rename("target", "source")) == Errno.NOTEMPTY
    assert refused(lambda: guest.rename("target", "source/file")) == Errno.NOTDIR
    guest.mkdir("source/below")
    assert refused(lambda: guest.rename("source", "source/below/x")) == Errno.INVAL
    assert refused(lambda: guest.rename("source", "source/x")) == Errno.INVAL
    fd = guest.open("source/below", "d")
    guest.rename("source/below", "target/below")
    assert refused(lambda: guest.rename("target", "x", new_fd=fd)) == Errno.INVAL


def test_links(nested: Guest) -> None:
    """A file can have several names, a link too, a directory one."""
    before = nested.world.tree.size
    nested.link("dir/nested/file", "same")
    assert nested.world.tree.size == before
    nested.make("same", b"new")
    assert nested.contents("dir/nested/file") == b"new"
    assert nested.stat("same")["links"] == 2
    assert nested.stat("same")["inode"] == nested.stat("dir/nested/file")["inode"]
    assert refused(lambda: nested.link("same", "dir")) == Errno.EXIST
    assert refused(lambda: nested.link("same", "same")) == Errno.EXIST
    assert refused(lambda: nested.link("same", "dangling")) == Errno.EXIST
    assert refused(lambda: nested.link("dir", "other")) == Errno.PERM
    assert refused(lambda: nested.link("same", "other/")) == Errno.NOENT
    assert refused(lambda: nested.link("dangling", "other", follow=True)) == Errno.NOENT
    nested.link("dangling", "other")
    assert nested.type("other") == FileType.SYMBOLIC_LINK


def test_making_symbolic_links(guest: Guest) -> None:
    """A link may lead nowhere, but not to an absolute path, and its name must be free."""
    guest.mkdir("dir")
    guest.make("file")
    assert refused(lambda: guest.symlink("x", "dir")) == Errno.EXIST
    assert refused(lambda: guest.symlink("x", "dir/")) == Errno.EXIST
    assert refused(lambda: guest.symlink("x", "file/")) == Errno.NOTDIR
    assert refused(lambda: guest.symlink("x", "new/")) == Errno.NOENT
    assert refused(lambda: guest.symlink("/etc", "new")) == Errno.PERM
    assert refused(lambda: guest.symlink("", "new")) == Errno.NOENT
    assert refused(lambda: guest.symlink(b"\xff", "new")) == Errno.ILSEQ


def test_times(guest: Guest) -> None:
    """Times are the wall clock's until they are set, of a link or of what it leads to; contradictions are refused."""
    guest.make("file")
    guest.symlink("file", "link")
    now = guest.stat("file")["modified"]
    assert now == 1_700_000_000_000_000_000

    def set_times(path: str, accessed: int, modified: int, which: int, *, follow: bool = False) -> None:
        guest.call("path_filestat_set_times", 3, follow, *guest.put_path(path), accessed, modified, which)

    set_times("link", 1, 2, 0b0101)
    assert (guest.stat("link")["accessed"], guest.stat("link")["modified"]) == (1, 2)
    assert guest.stat("file")["modified"] == now
    set_times("link", 3, 4, 0b0100, follow=True)
    assert (guest.stat("file")["accessed"], guest.stat("file")["modified"]) == (now, 4)
    set_times("file", 5, 6, 0b1001)
    assert (guest.stat("file")["accessed"], guest.stat("file")["modified"]) == (5, now)
    for which in (0b0011, 0b1100, 0b10000):
        assert refused(lambda which=which: set_times("file", 0, 0, which)) == Errno.INVAL
    fd = guest.open("file")
    guest.call("fd_filestat_set_times", fd, 7, 8, 0b0101)
    assert (guest.fstat(fd)["accessed"], guest.fstat(fd)["modified"]) == (7, 8)


def test_the_number_of_names_is_limited() -> None:
    """Files, directories, links of both kinds count alike, and what is removed counts no more."""
    guest = Guest(max_entries=4)
    guest.make("a")
    guest.mkdir("b")
    guest.symlink("a", "c")
    guest.link("a", "d")
    for call in (
        lambda: guest.make("e"),
        lambda: guest.mkdir("e"),
        lambda: guest.symlink("a", "e"),
        lambda: guest.link("a", "e"),
    ):
        assert refused(call) == Errno.NOSPC
    guest.rename("a", "d2")
    guest.unlink("c")
    guest.mkdir("e")
    assert guest.world.tree.entries == 4
