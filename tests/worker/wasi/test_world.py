"""What a job is given, and what is taken from it afterwards."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from .adapter import make_world
from .guest import Guest


def test_files_are_where_their_names_say() -> None:
    """Directories on the way are made; a leading slash means nothing; all of it counts against the quota."""
    files = {"a.txt": b"1", "/b/c.txt": b"22", "b/d/e.txt": b"333", "empty": b""}
    guest = Guest(files=files)
    assert guest.names() == ["a.txt", "b", "empty"]
    assert guest.contents("b/d/e.txt") == b"333"
    assert guest.world.tree.size == 6
    assert guest.world.tree.entries == 6
    assert guest.world.collect(files) == files
    assert guest.world.moved > 0


def test_a_name_that_ends_in_a_slash_is_an_empty_directory() -> None:
    """It is there, with those on the way, and takes nothing of the quota."""
    guest = Guest(files={"a/b/": b"", "c": b"1"})
    assert guest.names() == ["a", "c"]
    assert guest.names("a/b") == []
    assert guest.world.tree.size == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"files": {"../x": b""}}, "'../x' cannot be placed"),
        ({"files": {"": b""}}, "cannot be placed"),
        ({"files": {"a": b"", "a/": b""}}, "'a' is a file as well"),
        ({"files": {".": b""}}, "cannot be placed"),
        ({"files": {"x" * 256: b""}}, "NAMETOOLONG"),
        ({"files": {"a": b"", "a/b": b""}}, "'a' is a file as well"),
        ({"files": {"a/b": b"", "a": b""}}, "EXIST"),
        ({"files": {"a": b"12345", "b": b"123456"}, "quota": 10}, "'b' cannot be placed: NOSPC"),
        ({"files": {"a": b"", "b": b""}, "max_entries": 1}, "NOSPC"),
        ({"files": {"a\0": b""}}, "NUL"),
        ({"argv": ["a\0"]}, "an argument contains a NUL byte"),
        ({"env": {"": "x"}}, "environment variable"),
        ({"env": {"a=b": "x"}}, "environment variable"),
        ({"env": {"a": "\0"}}, "NUL"),
    ],
)
def test_what_no_guest_could_be_given_is_refused(settings: dict[str, Any], words: str) -> None:
    """A wrong name or too much is one line that says which."""
    with pytest.raises(ValueError, match=words) as caught:
        make_world(**settings)
    assert "\n" not in str(caught.value)


def test_only_files_are_collected() -> None:
    """What is missing, is a directory, leads outside or has no good name is left out; a link is followed."""
    guest = Guest(files={"dir/file": b"text"})
    guest.symlink("dir/file", "link")
    guest.symlink("link", "dir/wrong")
    names = ["dir/file", "./link", "dir", "missing", "../dir/file", "dir/file/", "dir/wrong", "", "\0", "\ud800"]
    assert guest.world.collect(names) == {"dir/file": b"text", "./link": b"text"}


def test_what_was_given_is_not_changed() -> None:
    """A guest that writes to a file has a copy of its own; the bytes that came with the job stay."""
    given = b"original"
    guest = Guest(files={"file": given})
    fd = guest.open("file")
    guest.write(fd, b"X")
    assert guest.world.collect(["file"]) == {"file": b"Xriginal"}
    assert given == b"original"


def test_a_world_is_gone_when_nobody_has_it() -> None:
    """Nothing in a world keeps itself alive: its bytes are free again without the garbage collector."""
    gc.disable()
    try:
        guest = Guest(files={"a/b/c": b"x"})
        guest.mkdir("a/d")
        guest.symlink("a", "link")
        guest.open("a", "d")
        guest.open("new", "c")
        remains = [weakref.ref(guest.world.tree), weakref.ref(guest.world.tree.root)]
        del guest
        assert [each() for each in remains] == [None, None]
    finally:
        gc.enable()
