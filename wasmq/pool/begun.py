"""The scheduler's end of a worker's record of the jobs that have begun: see `wasmq_worker.begun`."""

from __future__ import annotations

import fcntl
import os

from wasmq_worker.protocol import BEGUN_BYTES


class Record:
    """A file in memory for one worker, which cannot change its size. Raises `OSError` when there is none to be had."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("wasmq-begun", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, BEGUN_BYTES)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        except BaseException:
            os.close(self.descriptor)
            raise

    def read(self) -> frozenset[int]:
        """Return the tickets in the file: what a hostile process wrote, and no more than that."""
        return frozenset(memoryview(os.pread(self.descriptor, BEGUN_BYTES, 0)).cast("Q"))

    def close(self) -> None:
        """Give the file up."""
        os.close(self.descriptor)
