"""`wasi:filesystem/types`: the functions on an open file or directory itself."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from wasmq_worker.wasi import abi, rights
from wasmq_worker.wasi.descriptors import POSITION_MAX, OpenDirectory, OpenFile
from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.preview2.codes import error_code
from wasmq_worker.wasi.preview2.file_types import (
    DONE,
    SELF,
    directory,
    file,
    flags_of,
    opened,
    set_times,
    stat_of,
    type_of,
    types,
)
from wasmq_worker.wasi.preview2.handles import CHUNK_MAX, Entries, Failure, InputStream, Opened, OutputStream
from wasmq_worker.wasi.preview2.interface import Declaration

if TYPE_CHECKING:
    from wasmq_worker.wasi.nodes import Node
    from wasmq_worker.wasi.preview2.outcome import Case
    from wasmq_worker.wasi.preview2.state import State

_metadata: Final = Struct("<QQQQ")
_hash: Final = Struct("<QQ")

types.resource("directory-entry-stream", Entries)


@types.function("[method]descriptor.read-via-stream", SELF, "u64", result="result<own<input-stream>, error-code>")
def read_via_stream(state: State, descriptor: int, offset: int) -> int:
    """Return a stream that reads from an offset, with a position of its own."""
    return state.hold(InputStream(_stream(state, descriptor, rights.FD_READ, offset=offset)))


@types.function("[method]descriptor.write-via-stream", SELF, "u64", result="result<own<output-stream>, error-code>")
def write_via_stream(state: State, descriptor: int, offset: int) -> int:
    """Return a stream that writes from an offset on, with a position of its own."""
    return state.hold(OutputStream(_stream(state, descriptor, rights.FD_WRITE, offset=offset)))


@types.function("[method]descriptor.append-via-stream", SELF, result="result<own<output-stream>, error-code>")
def append_via_stream(state: State, descriptor: int) -> int:
    """Return a stream that writes where the file ends each time."""
    return state.hold(OutputStream(_stream(state, descriptor, rights.FD_WRITE, flags=rights.APPEND)))


@types.function("[method]descriptor.advise", SELF, "u64", "u64", "advice", result=DONE)
def advise(state: State, descriptor: int, offset: int, length: int, advice: str) -> None:
    """Do nothing: all of a file is in memory."""
    file(state, descriptor)
    if offset > POSITION_MAX or length > POSITION_MAX:
        raise Failed(Errno.INVAL)


@types.function("[method]descriptor.sync-data", SELF, result=DONE)
@types.function("[method]descriptor.sync", SELF, result=DONE)
def sync(state: State, descriptor: int) -> None:
    """Do nothing: there is no medium to write to."""
    opened(state, descriptor)


@types.function("[method]descriptor.get-flags", SELF, result="result<descriptor-flags, error-code>")
def get_flags(state: State, descriptor: int) -> frozenset[str]:
    """Return what can be done with it."""
    return flags_of(opened(state, descriptor))


@types.function("[method]descriptor.get-type", SELF, result="result<descriptor-type, error-code>")
def get_type(state: State, descriptor: int) -> str:
    """Return what it is."""
    return type_of(opened(state, descriptor).node)


@types.function("[method]descriptor.set-size", SELF, "u64", result=DONE)
def set_size(state: State, descriptor: int, size: int) -> None:
    """Cut a file, or lengthen it with zeros."""
    file(state, descriptor).resize(size)


@types.function("[method]descriptor.set-times", SELF, "new-timestamp", "new-timestamp", result=DONE)
def set_times_(state: State, descriptor: int, accessed: Case, modified: Case) -> None:
    """Set the times of an open file or directory."""
    set_times(state.world.tree, opened(state, descriptor).node, accessed, modified)


@types.function("[method]descriptor.read", SELF, "u64", "u64", result="result<tuple<list<u8>, bool>, error-code>")
def read(state: State, descriptor: int, length: int, offset: int) -> tuple[bytes, bool]:
    """Return at most 64 KiB from an offset on, and whether the file ends there.

    Nothing read says so too, even if nothing was asked for: guests take it for an interrupted read otherwise.
    """
    found = file(state, descriptor)
    data = bytes(found.read(min(length, CHUNK_MAX), offset))
    return data, not data or offset + len(data) >= found.file.size


@types.function("[method]descriptor.write", SELF, "list<u8>", "u64", result="result<u64, error-code>")
def write(state: State, descriptor: int, buffer: bytes, offset: int) -> int:
    """Write at an offset what the quota leaves room for, 16 MiB at most, and return how many bytes that was."""
    return file(state, descriptor).write([memoryview(buffer)[: abi.COPY_MAX]], offset)


@types.function("[method]descriptor.read-directory", SELF, result="result<own<directory-entry-stream>, error-code>")
def read_directory(state: State, descriptor: int) -> int:
    """Return a stream of what is in a directory, . and .. left out."""
    found = directory(state, descriptor)
    state.check_room()
    return state.hold(Entries(state.world.tree, found))


@types.function("[method]descriptor.stat", SELF, result="result<descriptor-stat, error-code>")
def stat(state: State, descriptor: int) -> dict[str, Any]:
    """Return what is known of an open file or directory."""
    return stat_of(opened(state, descriptor).node)


@types.function("[method]descriptor.is-same-object", SELF, SELF, result="bool")
def is_same_object(state: State, descriptor: int, other: int) -> bool:
    """Return whether both are the same file or directory."""
    return opened(state, descriptor).node is opened(state, other).node


@types.function("[method]descriptor.metadata-hash", SELF, result="result<metadata-hash-value, error-code>")
def metadata_hash(state: State, descriptor: int) -> dict[str, int]:
    """Return a number that is another one when the file has changed or is another one."""
    return hash_of(opened(state, descriptor).node)


@types.function(
    "[method]directory-entry-stream.read-directory-entry",
    "borrow<directory-entry-stream>",
    result="result<option<directory-entry>, error-code>",
)
def read_directory_entry(state: State, stream: int) -> dict[str, str] | None:
    """Return the next entry, None at the end."""
    found = state.get(stream, Entries).next()
    if found is None:
        return None
    name, node = found
    return {"type": type_of(node), "name": name.decode()}


@types.function("filesystem-error-code", "borrow<error>", result="option<error-code>")
def filesystem_error_code(state: State, error: int) -> str:
    """Return why a stream failed, as all that can fail are streams of files."""
    return error_code(state.get(error, Failure).errno)


@Declaration("wasi:filesystem/preopens").function("get-directories", result="list<tuple<own<descriptor>, string>>")
def get_directories(state: State) -> list[tuple[int, str]]:
    """Return the directories that the job has from the start, with their names."""
    return [(state.hold(Opened(OpenDirectory(found))), name) for name, found in state.world.preopens.items()]


def hash_of(node: Node) -> dict[str, int]:
    """Return the `metadata-hash-value` of a node."""
    digest = blake2b(_metadata.pack(node.inode, node.size, node.modified, node.changed), digest_size=_hash.size)
    lower, upper = _hash.unpack(digest.digest())
    return {"lower": lower, "upper": upper}


def _stream(state: State, descriptor: int, right: int, *, offset: int = 0, flags: int = 0) -> OpenFile:
    """Return the file opened once more, for one purpose."""
    found = file(state, descriptor)
    if not found.rights & right:
        raise Failed(Errno.BADF)
    state.check_room()
    stream = OpenFile(state.world.tree, found.file, right, flags)
    stream.position = offset
    return stream
