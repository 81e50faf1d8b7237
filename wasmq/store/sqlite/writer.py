"""The writer: one thread that takes what is waiting, does all of it at once, and answers all of it at once.

That is group commit: whatever came in while one batch was being synced rides in the next.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wasmq.store.sqlite.operations import Operation

_MAX_ROWS = 1_024  # about so many changes in one transaction
_TICK = 5.0  # seconds between two looks for something to tidy up while there is nothing to do

_Waiting: TypeAlias = "tuple[Operation, asyncio.Future[Any]]"


class Writer:
    """Hands operations to `commit` in a thread of its own, in their order; their results come back to the event loop.

    `commit` returns for each operation its result, or the exception that it is to raise. `tidy` is called when there
    has been nothing to do for some seconds; it returns whether there is more to tidy up.
    """

    def __init__(self, commit: Callable[[Sequence[Operation]], list[Any]], tidy: Callable[[], bool]) -> None:
        self._commit = commit
        self._tidy = tidy
        self._thread = threading.Thread(target=self._run, name="wasmq-store", daemon=True)
        self._arrived: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._backlog: deque[_Waiting] = deque()
        self._pending: list[_Waiting] = []
        self._ending = False

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._done = self._loop.create_future()
        self._thread.start()

    def add(self, operation: Operation) -> asyncio.Future[Any]:
        """Take an operation, and return the future of its result."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._pending:
            # What else comes in this turn of the loop goes along.
            self._loop.call_soon(self._send)
        self._pending.append((operation, future))
        return future

    async def stop(self) -> None:
        """Do what was added before, then end the thread."""
        self._send()
        self._arrived.put(None)
        await asyncio.shield(self._done)
        self._thread.join()

    def _send(self) -> None:
        if self._pending:
            self._arrived.put(self._pending)
            self._pending = []

    def _run(self) -> None:
        more = False
        while not self._ending or self._backlog:
            batch = self._take(0.0 if more else _TICK)
            if batch:
                results = self._results([operation for operation, _ in batch])
                self._loop.call_soon_threadsafe(_answer, [future for _, future in batch], results)
                del batch, results  # they may be large, and the next may be long in coming
                more = False
            elif not self._ending:
                more = self._tidy()
        self._loop.call_soon_threadsafe(self._done.set_result, None)

    def _take(self, timeout: float) -> list[_Waiting]:
        """Return what is waiting, at least one operation unless nothing comes in `timeout` seconds, or the end."""
        backlog = self._backlog
        try:
            if not backlog:
                self._receive(self._arrived.get(timeout=timeout) if timeout else self._arrived.get_nowait())
            while not self._ending:
                self._receive(self._arrived.get_nowait())
        except queue.Empty:
            pass
        batch: list[_Waiting] = []
        rows = 0
        while backlog and (not batch or rows + backlog[0][0].rows <= _MAX_ROWS):
            rows += backlog[0][0].rows
            batch.append(backlog.popleft())
        return batch

    def _receive(self, arrived: list[_Waiting] | None) -> None:
        if arrived is None:
            self._ending = True
        else:
            self._backlog += arrived

    def _results(self, operations: Sequence[Operation]) -> list[Any]:
        try:
            return self._commit(operations)
        except Exception as error:  # raised where the operation is waited for
            return [error] * len(operations)


def _answer(futures: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():  # nobody waits any more
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
