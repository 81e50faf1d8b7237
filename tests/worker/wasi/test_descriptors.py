"""Open files, streams and directories."""

from __future__ import annotations

import pytest

from wasmq_worker.wasi.descriptors import DESCRIPTORS_MAX
from wasmq_worker.wasi.errno import Errno
from wasmq_worker.wasi.rights import APPEND, FD_READ, FD_WRITE, FileType

from .guest import RIGHTS, Guest
from .test_paths import refused


def test_a_file_is_read_and_written_where_its_position_is(guest: Guest) -> None:
    """Reading and writing move the position; a seek may go beyond the end, not before the start."""
    fd = guest.open("file", "c")
    assert guest.write(fd, b"0123456789") == 10
    assert guest.read(fd) == b""
    assert guest.seek(fd, -4, 2) == 6
    assert guest.read(fd, 2) == b"67"
    assert guest.seek(fd, -1, 1) == 7
    assert guest.write(fd, b"X") == 1
    guest.call("fd_tell", fd, 0)
    assert guest.result("<Q") == (8,)
    assert refused(lambda: guest.seek(fd, -1)) == Errno.INVAL
    assert refused(lambda: guest.seek(fd, 0, 3)) == Errno.INVAL
    assert refused(lambda: guest.seek(fd, (1 << 63) - 1, 1)) == Errno.INVAL
    assert guest.seek(fd, 12) == 12
    assert guest.read(fd) == b""
    guest.write(fd, b"end")
    assert guest.contents("file") == b"0123456X89\0\0end"


def test_reading_and_writing_elsewhere_leaves_the_position_alone(guest: Guest) -> None:
    """pread and pwrite take an offset of their own, whether the file is being appended to or not."""
    fd = guest.open("file", "c", fdflags=APPEND)
    guest.write(fd, b"one ")
    guest.seek(fd, 0)
    guest.write(fd, b"two")
    assert guest.seek(fd, 0, 1) == 7
    assert guest.write(fd, b"ONE", 0) == 3
    assert guest.read(fd, 100, 1) == b"NE two"
    assert guest.seek(fd, 0, 1) == 7
    guest.call("fd_fdstat_set_flags", fd, 0)
    guest.seek(fd, 0)
    guest.write(fd, b"1")
    assert guest.contents("file") == b"1NE two"


def test_several_buffers_in_one_call(guest: Guest) -> None:
    """A write gathers and a read scatters, buffer after buffer, empty ones among them."""
    fd = guest.open("file", "c")
    guest.memory[0x9000:0x9006] = b"abcdef"
    guest.call("fd_write", fd, *guest.put_vectors((0x9000, 4), (0x9005, 0), (0x9004, 2), (0x9000, 1)), 0)
    assert guest.result("<I") == (7,)
    guest.call("fd_pread", fd, *guest.put_vectors((0xA000, 3), (0xA010, 0), (0xA020, 10)), 0, 0)
    assert bytes(guest.memory[0xA000:0xA004]) == b"abc\0"
    assert bytes(guest.memory[0xA020:0xA025]) == b"defa\0"


def test_the_size_of_a_file_can_be_set(guest: Guest) -> None:
    """Cutting and lengthening, the latter with zeros; allocating never cuts."""
    fd = guest.open("file", "c")
    guest.write(fd, b"abcdef")
    guest.call("fd_filestat_set_size", fd, 3)
    guest.call("fd_filestat_set_size", fd, 5)
    assert guest.contents("file") == b"abc\0\0"
    guest.call("fd_allocate", fd, 2, 2)
    assert guest.fstat(fd)["size"] == 5
    guest.call("fd_allocate", fd, 5, 2)
    assert guest.fstat(fd)["size"] == 7
    assert guest.world.tree.size == 7
    guest.call("fd_filestat_set_size", fd, 0)
    assert guest.world.tree.size == 0
    assert refused(lambda: guest.call("fd_allocate", fd, 0, 0)) == Errno.INVAL
    assert refused(lambda: guest.call("fd_allocate", fd, (1 << 64) - 1, 1)) == Errno.INVAL
    assert refused(lambda: guest.call("fd_filestat_set_size", fd, (1 << 64) - 1)) == Errno.INVAL
    assert refused(lambda: guest.call("fd_filestat_set_size", fd, (1 << 63) - 1)) == Errno.NOSPC
    guest.call("fd_advise", fd, 0, 10, 5)
    assert refused(lambda: guest.call("fd_advise", fd, 0, 10, 6)) == Errno.INVAL


def test_a_write_takes_what_the_quota_leaves_room_for() -> None:
    """A write that does not fit is short, the next one is refused, and there is room again once something goes."""
    guest = Guest(quota=10, files={"given": b"1234"})
    fd = guest.open("file", "c")
    assert guest.write(fd, b"abcdefgh") == 6
    assert refused(lambda: guest.write(fd, b"x")) == Errno.NOSPC
    assert guest.write(fd, b"") == 0
    assert guest.write(fd, b"ABC", 0) == 3
    assert refused(lambda: guest.write(fd, b"x", 1 << 62)) == Errno.NOSPC
    assert refused(lambda: guest.call("fd_allocate", fd, 0, 7)) == Errno.NOSPC
    assert refused(lambda: guest.symlink("x", "link")) == Errno.NOSPC
    guest.unlink("given")
    assert guest.write(fd, b"ghijkl") == 4
    assert guest.contents("file") == b"ABCdefghij"


def test_a_gap_is_paid_for(guest: Guest) -> None:
    """Zeros cost what bytes cost, whether they come from a gap, from a new size or from allocating."""
    for index, (name, *args) in enumerate((("fd_allocate", 0, 5000), ("fd_filestat_set_size", 5000))):
        fd = guest.open(str(index), "c")
        before = guest.world.moved
        guest.call(name, fd, *args)
        assert guest.world.moved - before == 5000
    fd = guest.open("gap", "c")
    before = guest.world.moved
    guest.write(fd, b"x", 5000)
    # One byte, its vector of 8, the result of 4.
    assert guest.world.moved - before == 5013


def test_an_open_file_outlives_its_name() -> None:
    """Until it is closed it can be used and counts; afterwards it is gone."""
    guest = Guest(quota=10)
    fd, other = guest.open("file", "c"), guest.open("file")
    guest.write(fd, b"0123456789")
    guest.unlink("file")
    assert guest.fstat(fd)["links"] == 0
    assert guest.read(other) == b"0123456789"
    guest.close(fd)
    assert guest.world.tree.size == 10
    guest.call("fd_filestat_set_size", other, 4)
    guest.close(other)
    assert guest.world.tree.size == 0


def test_numbers_are_given_from_the_lowest(guest: Guest) -> None:
    """As in POSIX, a new descriptor gets the lowest free number, and there are only so many."""
    numbers = [guest.open("file", "c") for _ in range(4)]
    assert numbers == [5, 6, 7, 8]
    guest.close(7)
    guest.close(5)
    assert refused(lambda: guest.close(5)) == Errno.BADF
    assert [guest.open("file") for _ in range(3)] == [5, 7, 9]
    for _ in range(DESCRIPTORS_MAX - 10):
        guest.open("file")
    assert refused(lambda: guest.open("other", "c")) == Errno.MFILE
    guest.close(1)
    assert guest.open(".", "d") == 1
    assert [name for _, name, _ in guest.readdir(1)[0]] == [".", "..", "file"]


def test_renumbering_replaces(guest: Guest) -> None:
    """The old number is free afterwards, what was open under the new one is closed, and both must have been open."""
    one, two = guest.open("one", "c"), guest.open("two", "c")
    guest.write(one, b"text")
    guest.unlink("two")
    guest.call("fd_renumber", one, two)
    assert refused(lambda: guest.close(one)) == Errno.BADF
    assert guest.read(two, 100, 0) == b"text"
    assert refused(lambda: guest.call("fd_renumber", two, one)) == Errno.BADF
    guest.call("fd_renumber", two, two)
    guest.call("fd_renumber", two, 1)
    guest.write(1, b"!")
    assert guest.contents("one") == b"text!"
    assert guest.world.stdout == b""


def test_streams(guest: Guest) -> None:
    """The streams go one way each, have no position, and are no terminals."""
    guest = Guest(stdin=b"0123456789")
    assert guest.read(0, 4) == b"0123"
    assert guest.read(0, 10) == b"456789"
    assert guest.read(0, 10) == b""
    assert refused(lambda: guest.write(0, b"x")) == Errno.BADF
    guest.write(1, b"out")
    guest.write(2, b"err")
    assert (bytes(guest.world.stdout), bytes(guest.world.stderr)) == (b"out", b"err")
    assert refused(lambda: guest.read(1)) == Errno.BADF
    for fd in range(3):
        assert guest.fdstat(fd)[0] == guest.fstat(fd)["type"] == FileType.UNKNOWN
        assert refused(lambda fd=fd: guest.seek(fd, 0)) == Errno.SPIPE
        assert refused(lambda fd=fd: guest.call("fd_tell", fd, 0)) == Errno.SPIPE
        guest.call("fd_sync", fd)
        guest.call("fd_datasync", fd)
    assert refused(lambda: guest.read(0, 1, 0)) == Errno.SPIPE
    assert refused(lambda: guest.write(1, b"x", 0)) == Errno.SPIPE


def test_both_streams_share_the_cap() -> None:
    """What is over is dropped from whichever stream was to get it, and each says so for itself."""
    guest = Guest(output_cap=5)
    assert guest.write(1, b"abc") == 3
    assert guest.write(2, b"defg") == 4
    assert not guest.world.stdout_truncated
    assert guest.write(1, b"h") == 1
    world = guest.world
    assert (bytes(world.stdout), bytes(world.stderr)) == (b"abc", b"de")
    assert world.stdout_truncated
    assert world.stderr_truncated


def test_rights_can_only_be_dropped(guest: Guest) -> None:
    """A file opened to be read cannot be written to, what is dropped stays dropped; emptying needs a right too."""
    fd = guest.open("file", "c", rights=FD_READ)
    assert guest.fdstat(fd)[2] == FD_READ
    assert refused(lambda: guest.write(fd, b"x")) == Errno.BADF
    assert refused(lambda: guest.call("fd_filestat_set_size", fd, 0)) == Errno.BADF
    assert refused(lambda: guest.call("fd_allocate", fd, 0, 1)) == Errno.BADF
    fd = guest.open("file", rights=RIGHTS)
    guest.call("fd_fdstat_set_rights", fd, guest.fdstat(fd)[2] & ~(FD_READ | FD_WRITE), 0)
    assert refused(lambda: guest.read(fd)) == Errno.BADF
    assert refused(lambda: guest.call("fd_fdstat_set_rights", fd, RIGHTS, 0)) == Errno.NOTCAPABLE
    assert refused(lambda: guest.call("fd_fdstat_set_rights", fd, 0, 1)) == Errno.NOTCAPABLE
    directory = guest.open(".", "d")
    _, _, base, inheriting = guest.fdstat(directory)
    guest.call("fd_fdstat_set_rights", directory, base & ~(1 << 19), inheriting)
    assert refused(lambda: guest.open("file", "t", fd=directory)) == Errno.NOTCAPABLE


def test_directories_are_not_read_like_files(guest: Guest) -> None:
    """Reading, writing and seeking are refused, and reported as what cannot be done."""
    fd = guest.open(".", "d")
    kind, flags, base, inheriting = guest.fdstat(fd)
    assert (kind, flags) == (FileType.DIRECTORY, 0)
    assert base & (FD_READ | FD_WRITE) == 0
    assert inheriting & RIGHTS == RIGHTS
    for call in (
        lambda: guest.read(fd),
        lambda: guest.read(fd, 1, 0),
        lambda: guest.write(fd, b"x"),
        lambda: guest.call("fd_allocate", fd, 0, 1),
        lambda: guest.call("fd_filestat_set_size", fd, 0),
    ):
        assert refused(call) == Errno.ISDIR
    assert refused(lambda: guest.seek(fd, 0)) == Errno.BADF
    assert refused(lambda: guest.readdir(guest.open("file", "c"))) == Errno.NOTDIR


@pytest.mark.parametrize("size", [40, 100, 0x4000])
def test_a_directory_is_listed_in_pieces(guest: Guest, size: int) -> None:
    """Whatever the buffer, each entry comes once and in order, even when those already seen are removed meanwhile."""
    names = [f"file.{index}" for index in range(60)]
    for name in names:
        guest.make(name)
    fd = guest.open(".", "d")
    seen: list[str] = []
    cookie = 0
    while True:
        entries, complete = guest.readdir(fd, size, cookie)
        seen += [name for _, name, _ in entries]
        for _, name, _ in entries:
            if name in names[::2]:
                guest.unlink(name)
        cookie = entries[-1][0] if entries else cookie
        if complete:
            break
    assert seen == [".", "..", *names]
    assert guest.names() == names[1::2]


def test_entries_say_what_they_are(guest: Guest) -> None:
    """An entry has the type and the inode of what it names; . and .. too."""
    guest.mkdir("dir")
    guest.make("dir/file")
    guest.symlink("file", "dir/link")
    guest.mkdir("dir/below")
    fd = guest.open("dir", "d")
    found, _ = guest.readdir(fd)
    assert [(name, kind.name) for _, name, kind in found] == [
        (".", "DIRECTORY"),
        ("..", "DIRECTORY"),
        ("file", "REGULAR_FILE"),
        ("link", "SYMBOLIC_LINK"),
        ("below", "DIRECTORY"),
    ]


def test_the_preopened_directories_have_names(guest: Guest) -> None:
    """3 is "/" and 4 is ".", and no other descriptor was there from the start; they can be closed."""
    for fd, name in ((3, b"/"), (4, b".")):
        guest.call("fd_prestat_get", fd, 0)
        assert guest.result("<II") == (0, 1)
        guest.call("fd_prestat_dir_name", fd, 8, 1)
        assert bytes(guest.memory[8:9]) == name
        assert refused(lambda fd=fd: guest.call("fd_prestat_dir_name", fd, 8, 0)) == Errno.NAMETOOLONG
    opened = guest.open(".", "d")
    for fd in (0, opened, 9):
        assert refused(lambda fd=fd: guest.call("fd_prestat_get", fd, 0)) == Errno.BADF
    guest.close(3)
    assert refused(lambda: guest.fdstat(3)) == Errno.BADF
    guest.fdstat(opened)
