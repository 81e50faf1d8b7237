"""Started jobs that this process has not accepted: a module may have to be fetched, a host function not be there.

That happens where jobs outlive the process that accepted them, or run in another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from wasmq.errors import StoreUnavailable, WasmqError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from anyio.abc import TaskGroup

    from wasmq.job import Call, Job
    from wasmq.modules import Library

_STORE_AWAY: Final = 0.5  # seconds between two tries, each of which has the store's own patience


class Absent:
    """`present` is told of jobs whose modules are there now, `gone` of those that cannot run here, and why.

    `obstacle` says what a call lacks whose modules are there, None for nothing.
    """

    def __init__(
        self,
        library: Library,
        tasks: TaskGroup,
        obstacle: Callable[[Call], str | None],
        present: Callable[[Sequence[Job]], None],
        gone: Callable[[Sequence[Job], str], None],
    ) -> None:
        self._library = library
        self._tasks = tasks
        self._obstacle = obstacle
        self._present = present
        self._gone = gone
        self._waiting: dict[tuple[str, ...], list[Job]] = {}

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._waiting.values())

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs that wait."""
        for jobs in self._waiting.values():
            yield from jobs

    def sort_out(self, jobs: Sequence[Job]) -> list[Job]:
        """Keep the jobs of which a module must be fetched first, and return those of the others that can run."""
        ready = []
        for job in jobs:
            digests = job.call.modules()
            if self._library.has(digests):
                ready.append(job)
            elif digests in self._waiting:
                self._waiting[digests].append(job)
            else:
                self._waiting[digests] = [job]
                self._tasks.start_soon(self._fetch, digests)
        return self._complete(ready)

    def drop(self, ids: Collection[str] | None = None) -> list[Job]:
        """Keep those of the jobs no longer, or none at all, and return them."""
        dropped = []
        for digests, jobs in self._waiting.items():
            dropped += [job for job in jobs if ids is None or job.id in ids]
            self._waiting[digests] = [job for job in jobs if ids is not None and job.id not in ids]
        return dropped

    async def _fetch(self, digests: tuple[str, ...]) -> None:
        try:
            for digest in digests:
                await self._recall(digest)
                if len(digests) > 1:
                    await self._library.count(digest)
        except (WasmqError, OSError) as error:
            self._gone(self._waiting.pop(digests), f"lost: its module cannot be had any more: {error}")
        else:
            self._present(self._complete(self._waiting.pop(digests)))

    def _complete(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs that lack nothing; the others end here."""
        complete = []
        for job in jobs:
            problem = self._obstacle(job.call)
            if problem is None:
                complete.append(job)
            else:
                self._gone([job], f"lost: {problem}")
        return complete

    async def _recall(self, digest: str) -> None:
        """Load a module, waiting for as long as the store that has it is away."""
        while True:
            try:
                await self._library.recall(digest)
            except StoreUnavailable:
                await anyio.sleep(_STORE_AWAY)
            else:
                return
