"""The types of `wasi:filesystem/types`, and how preview 1 says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmq_worker.wasi import rights
from wasmq_worker.wasi.descriptors import OpenDirectory, OpenFile
from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.preview2.codes import ERROR_CODE, error_code
from wasmq_worker.wasi.preview2.handles import Opened
from wasmq_worker.wasi.preview2.interface import Declaration, named
from wasmq_worker.wasi.preview2.time_calls import DATETIME, SECOND, datetime
from wasmq_worker.wasi.rights import FileType

if TYPE_CHECKING:
    from typing import Any

    from wasmq_worker.wasi.nodes import Directory, Node
    from wasmq_worker.wasi.preview2.outcome import Case
    from wasmq_worker.wasi.preview2.state import State
    from wasmq_worker.wasi.tree import Tree

SELF: Final = "borrow<descriptor>"
DONE: Final = "result<_, error-code>"

TYPES: Final = named(
    datetime=DATETIME,
    error_code=ERROR_CODE,
    descriptor_type="enum { unknown, block-device, character-device, directory, fifo, symbolic-link, regular-file, "
    "socket }",
    descriptor_flags="flags { read, write, file-integrity-sync, data-integrity-sync, requested-write-sync, "
    "mutate-directory }",
    descriptor_stat="record { type: descriptor-type, link-count: u64, size: u64, "
    "data-access-timestamp: option<datetime>, data-modification-timestamp: option<datetime>, "
    "status-change-timestamp: option<datetime> }",
    path_flags="flags { symlink-follow }",
    open_flags="flags { create, directory, exclusive, truncate }",
    new_timestamp="variant { no-change, now, timestamp(datetime) }",
    directory_entry="record { type: descriptor-type, name: string }",
    advice="enum { normal, sequential, random, will-need, dont-need, no-reuse }",
    metadata_hash_value="record { lower: u64, upper: u64 }",
)

types = Declaration("wasi:filesystem/types", TYPES, lambda _, failed: error_code(failed.errno))
types.resource("descriptor", Opened)

_TYPES: Final = {
    FileType.DIRECTORY: "directory",
    FileType.REGULAR_FILE: "regular-file",
    FileType.SYMBOLIC_LINK: "symbolic-link",
}
_OFLAGS: Final = {
    "create": rights.CREATE,
    "directory": rights.MUST_BE_DIRECTORY,
    "exclusive": rights.EXCLUSIVE,
    "truncate": rights.TRUNCATE,
}
_RIGHTS: Final = {"read": rights.FD_READ, "write": rights.FD_WRITE}
_TIME_MAX: Final = (1 << 64) - 1


def type_of(node: Node) -> str:
    """Return the `descriptor-type` of a node."""
    return _TYPES[node.type]


def oflags_of(flags: frozenset[str]) -> int:
    """Return `open-flags` as preview 1 has them."""
    return sum(_OFLAGS[flag] for flag in flags)


def rights_of(flags: frozenset[str]) -> int:
    """Return the rights that `descriptor-flags` ask for. Those to synchronise are requests, and all is synchronous."""
    return sum(bit for flag, bit in _RIGHTS.items() if flag in flags)


def flags_of(descriptor: OpenFile | OpenDirectory) -> frozenset[str]:
    """Return what an open file may do by its rights; a directory may be read and, unless frozen, changed."""
    if isinstance(descriptor, OpenFile):
        return frozenset(flag for flag, bit in _RIGHTS.items() if descriptor.rights & bit)
    return frozenset(("read",) if descriptor.node.frozen else ("read", "mutate-directory"))


def stat_of(node: Node) -> dict[str, Any]:
    """Return the `descriptor-stat` of a node."""
    return {
        "type": type_of(node),
        "link-count": node.links,
        "size": node.size,
        "data-access-timestamp": datetime(node.accessed),
        "data-modification-timestamp": datetime(node.modified),
        "status-change-timestamp": datetime(node.changed),
    }


def set_times(tree: Tree, node: Node, accessed: Case, modified: Case) -> None:
    """Set the times of a node to what two `new-timestamp` say. Raises `Failed`: INVAL, OVERFLOW."""
    now = tree.now() if "now" in (accessed.name, modified.name) else None
    tree.touch(node, _time(accessed, now), _time(modified, now))


def opened(state: State, descriptor: int) -> OpenFile | OpenDirectory:
    """Return an open file or directory."""
    return state.get(descriptor, Opened).descriptor


def file(state: State, descriptor: int) -> OpenFile:
    """Return an open file. Raises `Failed(ISDIR)` for a directory."""
    found = opened(state, descriptor)
    if not isinstance(found, OpenFile):
        raise Failed(Errno.ISDIR)
    return found


def directory(state: State, descriptor: int) -> Directory:
    """Return an open directory. Raises `Failed(NOTDIR)` for a file."""
    found = opened(state, descriptor)
    if not isinstance(found, OpenDirectory):
        raise Failed(Errno.NOTDIR)
    return found.directory


def _time(stamp: Case, now: int | None) -> int | None:
    """Return a time in nanoseconds since 1970, None for the one that it is already."""
    match stamp.name:
        case "now":
            return now
        case "timestamp":
            seconds, nanoseconds = stamp.value["seconds"], stamp.value["nanoseconds"]
            if nanoseconds >= SECOND:
                raise Failed(Errno.INVAL)
            total: int = seconds * SECOND + nanoseconds
            if total > _TIME_MAX:
                raise Failed(Errno.OVERFLOW)
            return total
    return None
