"""What a process has and must give back: processes, threads, tasks, descriptors, files, shared memory."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from watching import children, descriptors, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_SHARED = Path("/dev/shm")
# Kept for the next call by asyncio and anyio, so many and no more; they end with the loop.
_POOLED = ("asyncio_", "AnyIO worker thread")
# Made by other programs of the machine, whatever a test does.
_FOREIGN = ("PostgreSQL.", "sem.")


class Footprint(NamedTuple):
    """What there is at one moment, each thing by its name as often as it is there."""

    processes: Counter[str]
    threads: Counter[str]
    tasks: Counter[str]
    descriptors: Counter[str]
    files: Counter[str]
    shared_memory: Counter[str]

    @classmethod
    def take(cls, places: Sequence[Path] = ()) -> Footprint:
        """Look around; `places` are the directories whose files count, such as the one for temporary files."""
        running = threading.enumerate()
        shared = [path.name for path in _SHARED.iterdir()] if _SHARED.is_dir() else []
        return cls(
            Counter(f"{pid} {' '.join(command)}".strip() for pid, command in children().items()),
            Counter(thread.name for thread in running if not thread.name.startswith(_POOLED)),
            Counter(task.get_name() for task in asyncio.all_tasks()),
            Counter(_kind(name) for name in descriptors()),
            Counter(str(path) for place in places for path in place.rglob("*")),
            Counter(name for name in shared if not name.startswith(_FOREIGN)),
        )

    def beyond(self, before: Footprint) -> dict[str, list[str]]:
        """Return what there is more than before, by its kind; empty when there is nothing."""
        kinds = zip(self._fields, self, before, strict=True)
        return {name: sorted((now - then).elements()) for name, now, then in kinds if now - then}


def _kind(descriptor: str) -> str:
    """Return a descriptor's name without its number: a socket that replaced another one is none more."""
    kind, bracket, _ = descriptor.partition("[")
    return kind if bracket else descriptor


@asynccontextmanager
async def nothing_left(places: Sequence[Path] = ()) -> AsyncIterator[None]:
    """See that what the block has made is gone once it is over.

    What pools keep for the next call is not counted, so the first block of a process may be watched as well.
    """
    before = Footprint.take(places)
    yield

    def gone() -> bool:
        gc.collect()
        return not Footprint.take(places).beyond(before)

    try:
        await until(gone)
    except TimeoutError:
        raise AssertionError(f"left behind: {Footprint.take(places).beyond(before)}") from None
