"""`wasi:filesystem/types`: the functions on a path below an open directory, those named `…-at`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.opening import check_oflags, existing, link_target, open_at
from wasmq_worker.wasi.preview2.descriptor_calls import hash_of
from wasmq_worker.wasi.preview2.file_types import DONE, SELF, directory, oflags_of, rights_of, set_times, stat_of, types
from wasmq_worker.wasi.preview2.handles import Opened

if TYPE_CHECKING:
    from wasmq_worker.wasi.paths import Place
    from wasmq_worker.wasi.preview2.outcome import Case
    from wasmq_worker.wasi.preview2.state import State

_FOLLOW: Final = "symlink-follow"
_MAKING: Final = frozenset(("create", "truncate"))
_CHANGING: Final = frozenset(("write", "mutate-directory"))


@types.function("[method]descriptor.create-directory-at", SELF, "string", result=DONE)
def create_directory_at(state: State, descriptor: int, path: str) -> None:
    """Make a directory."""
    state.world.tree.make_directory(_find(state, descriptor, path))


@types.function(
    "[method]descriptor.stat-at", SELF, "path-flags", "string", result="result<descriptor-stat, error-code>"
)
def stat_at(state: State, descriptor: int, flags: frozenset[str], path: str) -> dict[str, Any]:
    """Return what is known of what a path names."""
    return stat_of(existing(_find(state, descriptor, path, flags)))


@types.function(
    "[method]descriptor.set-times-at", SELF, "path-flags", "string", "new-timestamp", "new-timestamp", result=DONE
)
def set_times_at(
    state: State, descriptor: int, flags: frozenset[str], path: str, accessed: Case, modified: Case
) -> None:
    """Set the times of what a path names."""
    set_times(state.world.tree, existing(_find(state, descriptor, path, flags)), accessed, modified)


@types.function("[method]descriptor.link-at", SELF, "path-flags", "string", SELF, "string", result=DONE)
def link_at(
    state: State, descriptor: int, old_flags: frozenset[str], old_path: str, new_descriptor: int, new_path: str
) -> None:
    """Give a file one more name."""
    old = existing(_find(state, descriptor, old_path, old_flags))
    state.world.tree.link(old, _find(state, new_descriptor, new_path))


@types.function(
    "[method]descriptor.open-at",
    SELF,
    "path-flags",
    "string",
    "open-flags",
    "descriptor-flags",
    result="result<own<descriptor>, error-code>",
)
def open_at_(
    state: State,
    descriptor: int,
    path_flags: frozenset[str],
    path: str,
    open_flags: frozenset[str],
    flags: frozenset[str],
) -> int:
    """Open a file or a directory, making or emptying it if told to.

    `mutate-directory` is had without asking. What is frozen is not opened to be changed.
    """
    oflags = oflags_of(open_flags)
    check_oflags(oflags)
    base = directory(state, descriptor)
    if base.frozen and open_flags & _MAKING:
        raise Failed(Errno.ROFS)
    state.check_room()
    follow = _FOLLOW in path_flags
    found = open_at(state.world.tree, base, path.encode(), oflags, rights_of(flags), 0, follow=follow)
    if found.node.frozen and flags & _CHANGING:
        raise Failed(Errno.ROFS)
    return state.hold(Opened(found))


@types.function("[method]descriptor.readlink-at", SELF, "string", result="result<string, error-code>")
def readlink_at(state: State, descriptor: int, path: str) -> str:
    """Return where a symbolic link leads."""
    return link_target(_find(state, descriptor, path)).decode()


@types.function("[method]descriptor.remove-directory-at", SELF, "string", result=DONE)
def remove_directory_at(state: State, descriptor: int, path: str) -> None:
    """Remove an empty directory."""
    state.world.tree.remove_directory(_find(state, descriptor, path))


@types.function("[method]descriptor.rename-at", SELF, "string", SELF, "string", result=DONE)
def rename_at(state: State, descriptor: int, old_path: str, new_descriptor: int, new_path: str) -> None:
    """Move a name, over what is there if it can be."""
    old = _find(state, descriptor, old_path)
    state.world.tree.rename(old, _find(state, new_descriptor, new_path))


@types.function("[method]descriptor.symlink-at", SELF, "string", "string", result=DONE)
def symlink_at(state: State, descriptor: int, old_path: str, new_path: str) -> None:
    """Make a symbolic link that leads to `old_path`."""
    state.world.tree.make_symlink(_find(state, descriptor, new_path), old_path.encode())


@types.function("[method]descriptor.unlink-file-at", SELF, "string", result=DONE)
def unlink_file_at(state: State, descriptor: int, path: str) -> None:
    """Remove the name of a file or symbolic link."""
    state.world.tree.unlink(_find(state, descriptor, path))


@types.function(
    "[method]descriptor.metadata-hash-at",
    SELF,
    "path-flags",
    "string",
    result="result<metadata-hash-value, error-code>",
)
def metadata_hash_at(state: State, descriptor: int, flags: frozenset[str], path: str) -> dict[str, int]:
    """Return what `metadata-hash` returns for what a path names."""
    return hash_of(existing(_find(state, descriptor, path, flags)))


def _find(state: State, descriptor: int, path: str, flags: frozenset[str] = frozenset()) -> Place:
    return state.world.tree.find(directory(state, descriptor), path.encode(), follow=_FOLLOW in flags)
