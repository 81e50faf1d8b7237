"""From a path to the place that it names, never leaving the directory that it starts from."""

from __future__ import annotations

from typing import Final, NamedTuple

from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.nodes import Directory, Node, Symlink

PATH_MAX: Final = 4096
NAME_MAX: Final = 255
SYMLINKS_MAX: Final = 32


class Place(NamedTuple):
    """Where a path leads.

    `parent` is None when the path ends in . or .., and so names a directory without saying what it is called. `node` is
    None when nothing has that name. `slashed` means that the path insists on a directory. `followed` counts the bytes
    of the symbolic links on the way.
    """

    parent: Directory | None
    name: bytes
    node: Node | None
    slashed: bool
    followed: int


def check(path: bytes) -> bytes:
    """Return a path as it came; raises `Failed` unless it is UTF-8 without NUL, not empty and not too long."""
    if not path:
        raise Failed(Errno.NOENT)
    if len(path) > PATH_MAX:
        raise Failed(Errno.NAMETOOLONG)
    if b"\0" in path:
        raise Failed(Errno.INVAL)
    try:
        path.decode()
    except UnicodeDecodeError:
        raise Failed(Errno.ILSEQ) from None
    return path


def find(base: Directory, path: bytes, *, follow: bool) -> Place:
    """Walk `path` from `base`; a symbolic link at its end is followed only when told, or when a slash comes after it.

    Raises `Failed`: PERM for what would leave `base` (an absolute path, too many .., a link to either), LOOP, NOENT and
    NOTDIR for what is on the way, NAMETOOLONG for one name of more than 255 bytes.
    """
    if path.startswith(b"/"):
        raise Failed(Errno.PERM)
    walked = [base]
    slashed = path.endswith(b"/")
    todo = path.rstrip(b"/").split(b"/")
    todo.reverse()
    links = followed = 0
    while todo:
        name = todo.pop()
        if not name or name == b".":
            continue
        if name == b"..":
            if len(walked) == 1:
                raise Failed(Errno.PERM)
            walked.pop()
            continue
        if len(name) > NAME_MAX:
            raise Failed(Errno.NAMETOOLONG)
        node = walked[-1].get(name)
        if isinstance(node, Symlink) and (todo or follow or slashed):
            links += 1
            followed += len(node.target)
            # The second bound is on work: links of links of long paths.
            if links > SYMLINKS_MAX or followed > 2 * PATH_MAX:
                raise Failed(Errno.LOOP)
            if node.target.startswith(b"/"):
                raise Failed(Errno.PERM)
            slashed = slashed or (not todo and node.target.endswith(b"/"))
            todo.extend(reversed(node.target.rstrip(b"/").split(b"/")))
            continue
        if not todo:
            return Place(walked[-1], name, node, slashed, followed)
        if node is None:
            raise Failed(Errno.NOENT)
        if not isinstance(node, Directory):
            raise Failed(Errno.NOTDIR)
        walked.append(node)
    return Place(None, b".", walked[-1], slashed=True, followed=followed)
