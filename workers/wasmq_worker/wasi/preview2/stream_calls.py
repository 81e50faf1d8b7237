"""`wasi:io/streams` and `wasi:io/error`.

Every stream is either at its end or ready: nothing here waits, and what may block does the same as what may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmq_worker.wasi.preview2.codes import error_code
from wasmq_worker.wasi.preview2.handles import CHUNK_MAX, Closed, Failure, InputStream, OutputStream, Pollable
from wasmq_worker.wasi.preview2.interface import Declaration, named
from wasmq_worker.wasi.preview2.outcome import Case
from wasmq_worker.wasi.signals import Violated

if TYPE_CHECKING:
    from wasmq_worker.wasi.errno import Failed
    from wasmq_worker.wasi.preview2.state import State

# The most that the functions which write and flush in one take, says the specification.
_BLOCKING_MAX: Final = 4096

_IN: Final = "borrow<input-stream>"
_OUT: Final = "borrow<output-stream>"
_BYTES: Final = "result<list<u8>, stream-error>"
_COUNT: Final = "result<u64, stream-error>"
_DONE: Final = "result<_, stream-error>"


def _refusal(state: State, failed: Failed) -> Case:
    if isinstance(failed, Closed):
        return Case("closed")
    return Case("last-operation-failed", state.hold(Failure(failed.errno)))


_error = Declaration("wasi:io/error")
_error.resource("error", Failure)

_streams = Declaration(
    "wasi:io/streams", named(stream_error="variant { last-operation-failed(own<error>), closed }"), _refusal
)
_streams.resource("input-stream", InputStream)
_streams.resource("output-stream", OutputStream)


@_error.function("[method]error.to-debug-string", "borrow<error>", result="string")
def to_debug_string(state: State, error: int) -> str:
    """Return the name of the error."""
    return error_code(state.get(error, Failure).errno)


@_streams.function("[method]input-stream.read", _IN, "u64", result=_BYTES)
@_streams.function("[method]input-stream.blocking-read", _IN, "u64", result=_BYTES)
def read(state: State, stream: int, length: int) -> bytes:
    """Return the next bytes, at most `length` and 64 KiB."""
    return state.get(stream, InputStream).read(length)


@_streams.function("[method]input-stream.skip", _IN, "u64", result=_COUNT)
@_streams.function("[method]input-stream.blocking-skip", _IN, "u64", result=_COUNT)
def skip(state: State, stream: int, length: int) -> int:
    """Pass over the next bytes and return how many those were; they cost as much as if they were read."""
    skipped = len(state.get(stream, InputStream).read(length))
    state.world.copied += skipped
    return skipped


@_streams.function("[method]input-stream.subscribe", _IN, result="own<pollable>")
def subscribe_input(state: State, stream: int) -> int:
    """Return a pollable that is always ready: there is something to read, or the end."""
    state.get(stream, InputStream)
    return state.hold(Pollable())


@_streams.function("[method]output-stream.check-write", _OUT, result=_COUNT)
def check_write(state: State, stream: int) -> int:
    """Permit 64 KiB, each time."""
    state.get(stream, OutputStream)
    return CHUNK_MAX


@_streams.function("[method]output-stream.write", _OUT, "list<u8>", result=_DONE)
def write(state: State, stream: int, contents: bytes) -> None:
    """Write what was permitted. Raises `Violated` for more."""
    _permitted(len(contents), CHUNK_MAX)
    state.get(stream, OutputStream).write(contents)


@_streams.function("[method]output-stream.blocking-write-and-flush", _OUT, "list<u8>", result=_DONE)
def blocking_write_and_flush(state: State, stream: int, contents: bytes) -> None:
    """Write. Raises `Violated` for more than 4096 bytes."""
    _permitted(len(contents), _BLOCKING_MAX)
    state.get(stream, OutputStream).write(contents)


@_streams.function("[method]output-stream.write-zeroes", _OUT, "u64", result=_DONE)
def write_zeroes(state: State, stream: int, length: int) -> None:
    """Write as many zeros as were permitted. Raises `Violated` for more."""
    _zeroes(state, stream, length, CHUNK_MAX)


@_streams.function("[method]output-stream.blocking-write-zeroes-and-flush", _OUT, "u64", result=_DONE)
def blocking_write_zeroes_and_flush(state: State, stream: int, length: int) -> None:
    """Write zeros. Raises `Violated` for more than 4096."""
    _zeroes(state, stream, length, _BLOCKING_MAX)


@_streams.function("[method]output-stream.flush", _OUT, result=_DONE)
@_streams.function("[method]output-stream.blocking-flush", _OUT, result=_DONE)
def flush(state: State, stream: int) -> None:
    """Do nothing: whatever was written is where it belongs."""
    state.get(stream, OutputStream)


@_streams.function("[method]output-stream.subscribe", _OUT, result="own<pollable>")
def subscribe_output(state: State, stream: int) -> int:
    """Return a pollable that is always ready."""
    state.get(stream, OutputStream)
    return state.hold(Pollable())


@_streams.function("[method]output-stream.splice", _OUT, _IN, "u64", result=_COUNT)
@_streams.function("[method]output-stream.blocking-splice", _OUT, _IN, "u64", result=_COUNT)
def splice(state: State, stream: int, source: int, length: int) -> int:
    """Write what the other stream gives and return how many bytes; they cost as much as if the guest had had them."""
    target = state.get(stream, OutputStream)
    data = state.get(source, InputStream).read(length)
    state.world.copied += len(data)
    target.write(data)
    return len(data)


def _permitted(size: int, most: int) -> None:
    if size > most:
        raise Violated(f"a write of {size} bytes to a stream where {most} are permitted")


def _zeroes(state: State, stream: int, length: int, most: int) -> None:
    _permitted(length, most)
    state.get(stream, OutputStream).write(bytes(length))
    state.world.copied += length
