"""Streams: standard input, output and error, those of files, and what they cost."""

from __future__ import annotations

import pytest

from wasmq_worker.wasi import Violated
from wasmq_worker.wasi.preview2 import Case
from wasmq_worker.wasi.preview2.handles import CHUNK_MAX
from wasmq_worker.wasi.preview2.state import HANDLES_MAX

from .component import CLOSED, Component, refused

READS = ("read", "blocking-read")
SKIPS = ("skip", "blocking-skip")
SPLICES = ("splice", "blocking-splice")


def stdout(component: Component) -> int:
    stream: int = component.call("cli/stdout", "get-stdout")
    return stream


def stdin(component: Component) -> int:
    stream: int = component.call("cli/stdin", "get-stdin")
    return stream


@pytest.mark.parametrize("name", READS)
def test_standard_input_is_read_and_then_closed(name: str) -> None:
    """Reads are as long as asked for, while there is something; the end is an error of its own, each time."""
    component = Component(stdin=b"one two")
    stream = stdin(component)
    assert component.input(name, stream, 0) == b""
    assert component.input(name, stream, 3) == b"one"
    assert component.input(name, stream, (1 << 64) - 1) == b" two"
    for _ in range(2):
        assert refused(lambda: component.input(name, stream, 1)) == CLOSED
    assert refused(lambda: component.input("skip", stream, 1)) == CLOSED


def test_all_streams_of_standard_input_are_one() -> None:
    """What one has read the other has not."""
    component = Component(stdin=b"abc")
    first, second = stdin(component), stdin(component)
    assert component.input("read", first, 1) == b"a"
    assert component.input("read", second, 1) == b"b"
    assert component.input("read", first, 1) == b"c"


@pytest.mark.parametrize("name", SKIPS)
def test_bytes_are_skipped(name: str) -> None:
    """The count is that of the bytes passed over; skipping costs as much as reading."""
    component = Component(stdin=b"abcdef")
    stream = stdin(component)
    before = component.world.moved
    assert component.input(name, stream, 2) == 2
    assert component.world.moved - before == 2
    assert component.input(name, stream, 0) == 0
    assert component.input("read", stream, 9) == b"cdef"
    assert refused(lambda: component.input(name, stream, 1)) == CLOSED


def test_a_read_is_not_longer_than_64_kib() -> None:
    """However much is asked for and there."""
    component = Component(stdin=b"x" * (3 * CHUNK_MAX))
    assert component.input("read", stdin(component), 1 << 40) == b"x" * CHUNK_MAX
    component = Component(files={"file": b"y" * (2 * CHUNK_MAX)})
    file = component.open("file")
    assert component.file("read", file, 1 << 40, 0) == (b"y" * CHUNK_MAX, False)
    assert component.contents("file") == b"y" * (2 * CHUNK_MAX)


def test_output_is_kept_up_to_the_cap() -> None:
    """The guest is told that all of it was written; the two streams share what is kept."""
    component = Component(output_cap=10)
    out, err = stdout(component), component.call("cli/stderr", "get-stderr")
    component.output("write", out, b"12345")
    component.output("blocking-write-and-flush", err, b"abc")
    component.output("write-zeroes", out, 9)
    assert (component.world.stdout, component.world.stderr) == (b"12345\0\0", b"abc")
    assert component.world.stdout_truncated
    assert not component.world.stderr_truncated
    component.output("write", stdout(component), b"x")
    assert component.output("check-write", out) == CHUNK_MAX


@pytest.mark.parametrize("name", ["flush", "blocking-flush"])
def test_flushing_does_nothing(component: Component, name: str) -> None:
    """What was written is there already."""
    stream = stdout(component)
    component.output("write", stream, b"text")
    assert component.world.stdout == b"text"
    component.output(name, stream)
    assert component.world.stdout == b"text"


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("write", CHUNK_MAX),
        ("blocking-write-and-flush", 4096),
        ("write-zeroes", CHUNK_MAX),
        ("blocking-write-zeroes-and-flush", 4096),
    ],
)
def test_more_than_was_permitted_is_a_violation(component: Component, name: str, most: int) -> None:
    """Up to the permit all is written, with one byte more nothing."""
    stream = stdout(component)
    zeroes = "zeroes" in name
    before = component.world.moved
    component.output(name, stream, most if zeroes else bytes(most))
    assert component.world.moved - before == most
    assert component.world.stdout == bytes(most)
    with pytest.raises(Violated, match=f"{most + 1} bytes"):
        component.output(name, stream, most + 1 if zeroes else bytes(most + 1))
    assert component.world.stdout == bytes(most)


@pytest.mark.parametrize("name", SPLICES)
def test_one_stream_goes_into_another(name: str) -> None:
    """As much as is there, asked for and permitted; the end of the source is the end of it."""
    component = Component(stdin=b"abcdef")
    source, target = stdin(component), stdout(component)
    before = component.world.moved
    assert component.output(name, target, source, 2) == 2
    assert component.world.moved - before == 2
    assert component.output(name, target, source, 0) == 0
    assert component.output(name, target, source, 1 << 50) == 4
    assert component.world.stdout == b"abcdef"
    assert refused(lambda: component.output(name, target, source, 1)) == CLOSED


def test_streams_of_a_file_have_positions_of_their_own(component: Component) -> None:
    """Each starts where it was told to, and does not disturb the others."""
    component.make("file", b"0123456789")
    file = component.open("file")
    first, second = component.file("read-via-stream", file, 0), component.file("read-via-stream", file, 5)
    writer, appender = component.file("write-via-stream", file, 2), component.file("append-via-stream", file)
    assert component.input("read", first, 2) == b"01"
    component.output("write", appender, b"X")
    component.output("write", writer, b"ab")
    component.output("write", writer, b"c")
    component.output("write", appender, b"Y")
    assert component.input("read", first, 3) == b"abc"
    assert component.drain(second) == b"56789XY"
    assert component.contents("file") == b"01abc56789XY"


def test_the_end_of_a_file_stays_the_end(component: Component) -> None:
    """A stream that has ended does not go on when the file grows; a new one does."""
    component.make("file", b"ab")
    file = component.open("file")
    stream = component.file("read-via-stream", file, 0)
    assert component.drain(stream) == b"ab"
    component.file("write", file, b"cd", 2)
    assert refused(lambda: component.input("read", stream, 1)) == CLOSED
    assert component.input("read", component.file("read-via-stream", file, 2), 9) == b"cd"
    assert refused(lambda: component.input("read", component.file("read-via-stream", file, (1 << 64) - 1), 9)) == CLOSED


def test_a_full_disk_fails_the_stream() -> None:
    """What fits is written; the error says why, and the stream goes on once there is room."""
    component = Component(quota=6)
    component.make("other", b"12")
    file = component.open("file", "c")
    stream = component.file("append-via-stream", file)
    case = refused(lambda: component.output("write", stream, b"abcdef"))
    assert component.failure(case) == "insufficient-space"
    assert component.contents("file") == b"abcd"
    assert component.failure(refused(lambda: component.output("write-zeroes", stream, 1))) == "insufficient-space"
    component.file("unlink-file-at", component.root, "other")
    component.output("write", stream, b"ef")
    assert component.contents("file") == b"abcdef"
    assert component.world.tree.size == 6


def test_a_stream_far_beyond_the_end_does_not_fit(component: Component) -> None:
    """An offset costs nothing by itself."""
    file = component.open("file", "c")
    stream = component.file("write-via-stream", file, (1 << 64) - 1)
    assert component.failure(refused(lambda: component.output("write", stream, b"x"))) == "insufficient-space"
    assert component.world.tree.size == 0


def test_a_stream_needs_what_the_file_was_opened_for(component: Component) -> None:
    """Reading, writing; a directory has no stream."""
    component.make("file", b"text")
    reader = component.open("file", flags=frozenset(("read",)))
    writer = component.open("file", flags=frozenset(("write",)))
    assert refused(lambda: component.file("write-via-stream", reader, 0)) == "bad-descriptor"
    assert refused(lambda: component.file("append-via-stream", reader)) == "bad-descriptor"
    assert refused(lambda: component.file("read-via-stream", writer, 0)) == "bad-descriptor"
    for name, rest in (("read-via-stream", (0,)), ("write-via-stream", (0,)), ("append-via-stream", ())):
        assert refused(lambda name=name, rest=rest: component.file(name, component.root, *rest)) == "is-directory"


def test_a_stream_outlives_its_file(component: Component) -> None:
    """A removed file counts against the quota until the last stream is dropped, in whatever order."""
    component.make("file", b"text")
    file = component.open("file")
    reader, writer = component.file("read-via-stream", file, 0), component.file("append-via-stream", file)
    pollable = component.input("subscribe", reader)
    component.file("unlink-file-at", component.root, "file")
    component.close(file)
    component.output("write", writer, b"more")
    component.drop("io/streams", "output-stream", writer)
    assert component.world.tree.size == 8
    assert component.drain(reader) == b"textmore"
    component.drop("io/streams", "input-stream", reader)
    assert component.world.tree.size == 0
    assert component.call("io/poll", "[method]pollable.ready", pollable)


def test_what_is_always_ready(component: Component) -> None:
    """Streams never let anybody wait, at their end neither."""
    component.make("file")
    file = component.open("file")
    streams = [
        component.input("subscribe", stdin(component)),
        component.input("subscribe", component.file("read-via-stream", file, 0)),
        component.output("subscribe", stdout(component)),
        component.output("subscribe", component.file("append-via-stream", file)),
    ]
    assert component.call("io/poll", "poll", streams) == [0, 1, 2, 3]


def test_unknown_handles_are_violations(component: Component) -> None:
    """A number that stands for nothing, or for something else, ends the guest."""
    stream = stdout(component)
    for number in (stream, stream + 1, 0, (1 << 32) - 1):
        with pytest.raises(Violated, match="InputStream"):
            component.input("read", number, 1)
        with pytest.raises(Violated, match="InputStream"):
            component.drop("io/streams", "input-stream", number)
    component.drop("io/streams", "output-stream", stream)
    for name, rest in (
        ("write", (b"",)),
        ("check-write", ()),
        ("flush", ()),
        ("subscribe", ()),
        ("write-zeroes", (0,)),
    ):
        with pytest.raises(Violated, match="OutputStream"):
            component.output(name, stream, *rest)
    with pytest.raises(Violated, match="OutputStream"):
        component.drop("io/streams", "output-stream", stream)


def test_handles_are_finite_and_used_again() -> None:
    """There is a most at a time; each costs something; dropping one makes room for another."""
    component = Component(files={"file": b""})
    file = component.open("file")
    before = component.world.moved
    while len(component.state) < HANDLES_MAX:
        last = stdout(component)
    assert component.world.moved - before >= 100 * (HANDLES_MAX - 2)
    with pytest.raises(Violated, match="4096 resources"):
        stdout(component)
    assert refused(lambda: component.open("new", "c")) == "insufficient-memory"
    assert refused(lambda: component.file("append-via-stream", file)) == "insufficient-memory"
    assert refused(lambda: component.file("read-directory", component.root)) == "insufficient-memory"
    component.drop("io/streams", "output-stream", last)
    assert component.names_in(component.root) == ["file"]
    assert stdout(component) == last


def test_bytes_are_paid_for_both_ways() -> None:
    """A byte read or written costs one; a failed write costs what was given all the same."""
    component = Component(stdin=b"x" * 100, quota=10)
    out, source = stdout(component), stdin(component)
    stream = component.file("append-via-stream", component.open("file", "c"))
    before = component.world.moved
    component.output("write", out, b"y" * 70)
    assert component.world.moved - before == 70
    component.input("read", source, 30)
    assert component.world.moved - before == 100
    case = refused(lambda: component.output("write", stream, b"z" * 50))
    assert isinstance(case, Case)
    assert component.world.moved - before >= 150
