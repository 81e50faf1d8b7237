"""Guests that lie: every function with every kind of number."""

from __future__ import annotations

import struct
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmq_worker.wasi import FUNCTIONS, Exit, Sleep
from wasmq_worker.wasi.errno import Errno

from .guest import SIZE, Guest
from .test_paths import refused

LIMITS = {"i32": (1 << 32) - 1, "i64": (1 << 64) - 1}
EDGES = [0, 1, 3, 4, 5, 8, SIZE - 8, SIZE - 4, SIZE - 1, SIZE, SIZE + 1, 1 << 31, (1 << 31) - 1, 1 << 63, (1 << 63) - 1]


def numbers(kind: str) -> st.SearchStrategy[int]:
    most = LIMITS[kind]
    return st.one_of(
        st.integers(0, 12),
        st.sampled_from([edge & most for edge in EDGES] + [most, most - 7]),
        st.integers(0, SIZE),
        st.integers(0, most),
    )


calls = st.sampled_from(sorted(FUNCTIONS)).flatmap(
    lambda name: st.tuples(st.just(name), st.tuples(*map(numbers, FUNCTIONS[name][0])))
)


@given(
    calls=st.lists(calls, min_size=1, max_size=40),
    memory=st.lists(st.tuples(st.integers(0, SIZE - 20), st.binary(min_size=1, max_size=20)), max_size=20),
    deterministic=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_no_number_is_too_strange(
    calls: list[tuple[str, tuple[int, ...]]], memory: list[tuple[int, bytes]], deterministic: bool
) -> None:
    """A call returns an error number or parks or ends the guest, and the limits hold, whatever it is called with."""
    guest = Guest(
        stdin=b"input", files={"a": b"x", "d/e": b"y"}, quota=5000, output_cap=100, deterministic=deterministic
    )
    for at, data in memory:
        guest.memory[at : at + len(data)] = data
    for name, args in calls:
        before = guest.world.moved
        try:
            Errno(guest.raw(name, *args))
        except (Exit, Sleep):
            assert name in ("proc_exit", "poll_oneoff")
        assert guest.world.moved >= before
    assert guest.world.tree.size <= 5000
    assert len(guest.world.stdout) + len(guest.world.stderr) <= 100
    assert len(guest.memory) == SIZE


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - {"proc_exit"}))
def test_a_pointer_outside_is_an_error(name: str) -> None:
    """With every pointer and length at its largest, a function refuses and has changed nothing that counts."""
    guest = Guest(files={"file": b"text"})
    params = FUNCTIONS[name][0]
    before = Counter(bytes(guest.memory))
    error = guest.raw(name, *[3] * min(1, len(params)), *[LIMITS[kind] for kind in params[1:]])
    assert error or name in ("sched_yield", "fd_close", "fd_sync", "fd_datasync")
    assert Counter(bytes(guest.memory)) == before
    assert guest.world.collect(["file"]) == {"file": b"text"}


@pytest.mark.parametrize("name", ["fd_read", "fd_write"])
@pytest.mark.parametrize("fd", [0, 1, 5])
def test_a_bad_buffer_spoils_the_whole_call(name: str, fd: int) -> None:
    """When one of several buffers is outside, nothing is read or written, and no position moves."""
    guest = Guest(stdin=b"input")
    file = guest.open("file", "c")
    guest.write(file, b"text")
    guest.seek(file, 0)
    written = bytes(guest.world.stdout)
    vectors = guest.put_vectors((0x9000, 2), (SIZE - 1, 2))
    assert refused(lambda: guest.call(name, fd, *vectors, 0)) == Errno.FAULT
    good = guest.put_vectors((0x9000, 2))
    assert refused(lambda: guest.call(name, fd, *good, SIZE - 3)) == Errno.FAULT
    assert guest.world.stdout == written
    assert guest.read(0) == b"input"
    assert guest.read(file) == b"text"


def test_many_buffers_are_refused_and_few_are_priced() -> None:
    """More than 1024 buffers are refused unseen; empty ones cost 8 bytes each."""
    guest = Guest()
    for count in (1025, 1 << 20, (1 << 32) - 1):
        assert refused(lambda count=count: guest.call("fd_write", 1, 0, count, 0)) == Errno.INVAL
    before = guest.world.moved
    guest.memory[:8192] = bytes(8192)
    guest.call("fd_write", 1, 0, 1024, SIZE - 4)
    assert guest.world.moved - before == 8 * 1024 + 4


def test_overlapping_buffers_write_what_they_say() -> None:
    """The same bytes named many times are written as often and paid for as often."""
    guest = Guest(output_cap=10)
    for index in range(1024):
        struct.pack_into("<II", guest.memory, 8 * index, 0, SIZE)
    before = guest.world.moved
    guest.call("fd_write", 1, 0, 1024, SIZE - 4)
    assert struct.unpack_from("<I", guest.memory, SIZE - 4) == (1024 * SIZE,)
    assert guest.world.moved - before >= 1024 * SIZE
    assert len(guest.world.stdout) == 10


def test_more_than_fits_in_a_result_is_refused() -> None:
    """The lengths of all buffers together must fit what the guest can be told."""
    guest = Guest()
    guest.memory = memoryview(bytearray(4 << 20))
    for index in range(1024):
        struct.pack_into("<II", guest.memory, 8 * index, 0, 4 << 20)
    assert refused(lambda: guest.call("fd_write", 1, 0, 1024, 0)) == Errno.INVAL


def test_one_call_copies_only_so_much() -> None:
    """A long write to a file, or read, is short: at most 16 MiB in one call."""
    guest = Guest(quota=40 << 20)
    guest.memory = memoryview(bytearray(20 << 20))
    fd = guest.open("file", "c")
    vectors = guest.put_vectors((1 << 20, 18 << 20))
    guest.call("fd_write", fd, *vectors, 0)
    assert guest.result("<I") == (16 << 20,)
    guest.call("fd_filestat_set_size", fd, 20 << 20)
    guest.call("fd_pread", fd, *vectors, 0, 0)
    assert guest.result("<I") == (16 << 20,)


def test_deep_directories_are_paid_for() -> None:
    """The walk up that a rename takes, and listing a directory anew, cost what they take."""
    guest = Guest(max_entries=2000)
    fd = 3
    for _ in range(200):
        guest.mkdir("d", fd=fd)
        fd = guest.open("d", "d", fd=fd)
    guest.mkdir("other")
    before = guest.world.moved
    guest.rename("other", "other", new_fd=fd)
    assert guest.world.moved - before >= 8 * 200
    for index in range(500):
        guest.mkdir(str(index))
    before = guest.world.moved
    guest.readdir(3, 100)
    assert guest.world.moved - before >= 8 * 500
