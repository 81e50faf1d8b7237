"""`--dir`: a directory's files go into a job's scratch directory, and what the guest changed comes back.

The guest never sees the directory itself: it works on copies in memory.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wasmq.cli.exits import Unreadable, UsageError
from wasmq.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wasmq.job import Access

__all__ = ["Mounted", "mount", "parse_directory", "write_back"]

_READ_ONLY = ":ro"


class Mounted(NamedTuple):
    """One `--dir`: the directory here, its name for the guest, and what the guest may do there."""

    host: Path
    guest: str
    access: Access


def parse_directory(text: str) -> Mounted:
    """Return what `HOST::GUEST[:ro]` names; without `::GUEST` the guest sees it under the same name.

    Raises `UsageError`.
    """
    access: Access = "ro" if text.endswith(_READ_ONLY) else "rw"
    host, separator, guest = text.removesuffix(_READ_ONLY).partition("::")
    if not host or (separator and not guest):
        raise UsageError(f"--dir {text}: write HOST::GUEST, or HOST::GUEST:ro to let it only be read")
    return Mounted(Path(host), (guest or host).strip("/") or ".", access)


def mount(directories: Sequence[Mounted], most: int) -> dict[str, bytes]:
    """Return the files of some directories, by their paths for the guest.

    Regular files and empty directories are taken; symbolic links are not followed. Raises `Unreadable`, and
    `UsageError` for more than `most` bytes.
    """
    files: dict[str, bytes] = {}
    size = 0
    for directory in directories:
        if not directory.host.is_dir():
            raise Unreadable(f"--dir {directory.host}: not a directory")
        for path in _files_and_empty_directories(directory.host):
            inside = _inside(directory, path.relative_to(directory.host).as_posix())
            if path.is_dir():
                files[inside + "/"] = b""
                continue
            size += path.stat().st_size
            if size > most:
                raise UsageError(
                    f"--dir {directory.host}: its files are more than the {format_size(most)} that a job may bring "
                    "(limits.max.input)"
                )
            files[inside] = path.read_bytes()
    return files


def write_back(directories: Sequence[Mounted], before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
    """Write the files that the guest made or changed; what it removed stays. Raises `Unreadable`."""
    for directory in directories:
        if directory.access == "ro":
            continue
        prefix = _inside(directory, "")
        for path, content in after.items():
            name = path.removeprefix("/")
            if name.startswith(prefix) and before.get(name) != content:
                _write(directory.host, name.removeprefix(prefix), content)


def _inside(directory: Mounted, path: str) -> str:
    return path if directory.guest == "." else f"{directory.guest}/{path}"


def _files_and_empty_directories(directory: Path) -> Iterator[Path]:
    for root, below, names in os.walk(directory):
        if not below and not names and Path(root) != directory:
            yield Path(root)
        for name in sorted(names):
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _write(directory: Path, name: str, content: bytes) -> None:
    """Write one file below a directory, following no symbolic link on the way: the guest chose the name."""
    *above, last = name.split("/")
    try:
        current = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in above:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=current)
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
                os.close(current)
                current = below
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(last, flags, 0o666, dir_fd=current), "wb") as file:
                file.write(content)
        finally:
            os.close(current)
    except OSError as error:
        raise Unreadable(f"{directory / name}: cannot be written: {error.strerror or error}") from None
