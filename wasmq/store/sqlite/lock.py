"""One owner for a file: an advisory lock that ends with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from wasmq.errors import ConfigError, ResourceUnavailable

if TYPE_CHECKING:
    from pathlib import Path


class OwnerLock:
    """A lock on a file beside the one that is to have one owner. The file stays there, empty, when it is let go."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self, owned: Path) -> None:
        """Take the lock for `owned`. Raises `ConfigError` naming the process that has it, or why it is not to be had.

        Does not wait.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"scheduler.store: {owned}: its lock {self._path.name}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise ConfigError(f"scheduler.store: {self._path}: {error.strerror}") from None
            raise ResourceUnavailable(
                f"scheduler.store: {owned} is in use by process {owner or 'unknown'}; one daemon owns a file, "
                "others reach its jobs over HTTP"
            ) from None
        self._descriptor = descriptor
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let it go; nothing when it was never taken."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
