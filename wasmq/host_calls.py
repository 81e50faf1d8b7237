"""Host calls as they run: taken from the workers, made in this process, answered.

Plain functions run in threads of their own number, so that none blocks the event loop; coroutines run as tasks. Both
wait while as many run as may. A job that ends takes its call with it: a coroutine is cancelled; a thread cannot be, so
its result is dropped, and it keeps its place until it is through.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from wasmq.bell import Bell
from wasmq.host import one_line
from wasmq.lanes import Lane
from wasmq.logs import get_logger
from wasmq.pool.pool import Sending
from wasmq.recording import Tapes
from wasmq.signatures import HostCall
from wasmq_worker.protocol import ASK_WINDOW, Answer, Answers, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from anyio.abc import TaskGroup, TaskStatus

    from wasmq.clock import Clock
    from wasmq.config import HostConfig
    from wasmq.host import HostFunction
    from wasmq.job import Job
    from wasmq.metrics import Metrics
    from wasmq.recording import Recorded
    from wasmq_worker.protocol import Asked

_FRAME: Final = 16 * 2**20
"""Bytes of answers that go into one frame, unless a single one has more."""


class _Call:
    """One call that a guest waits for."""

    __slots__ = (
        "arguments",
        "asked",
        "began",
        "dropped",
        "function",
        "job",
        "room",
        "scope",
        "size",
        "taken",
        "worker",
    )

    def __init__(self, worker: int, job: Job, asked: Asked, function: HostFunction, began: float) -> None:
        self.worker = worker
        self.job = job
        self.asked = asked
        self.function = function
        self.began = began
        self.size = _size(asked)
        self.arguments: list[Any] = []
        self.room = 0
        self.scope: anyio.CancelScope | None = None
        self.taken = False  # past `begin`
        self.dropped = False


class HostCalls:
    """The calls that are out. `send` is given the frames with their answers."""

    def __init__(
        self,
        config: HostConfig,
        metrics: Metrics,
        clock: Clock,
        tasks: TaskGroup,
        send: Callable[[Iterable[Sending]], None],
    ) -> None:
        self._most = int(config.max_bytes)
        self._metrics = metrics
        self._clock = clock
        self._tasks = tasks
        self._send = send
        self._coroutines: Lane[_Call] = Lane(config.concurrency)
        self._threads: Lane[_Call] = Lane(config.threads)
        self._limiter = anyio.CapacityLimiter(config.threads)
        self._out: dict[int, dict[int, _Call]] = {}
        self._bytes: dict[int, int] = {}
        self._answers: dict[int, list[Answer]] = {}
        self._tapes = Tapes(int(config.recordings), self._most)
        self._flushing = False
        self._bell = Bell()
        self._log = get_logger()

    def begin(self, worker: int, job: Job, asked: Asked, function: HostFunction) -> None:
        """Take a guest's call, make it when there is room, and answer. `flush` must follow.

        Raises `ProtocolError` for what no honest worker asks.
        """
        out = self._out.setdefault(worker, {})
        if asked.ticket in out:
            raise ProtocolError(f"ticket {asked.ticket} asks again before it has an answer")
        call = _Call(worker, job, asked, function, self._clock.monotonic())
        carried = self._bytes.get(worker, 0) + call.size
        if call.size > self._most or carried > ASK_WINDOW:
            raise ProtocolError(f"host calls of {call.size} bytes, {carried} together")
        out[asked.ticket] = call
        self._bytes[worker] = carried
        self._metrics.host_called(function.name)
        if job.recording is not None:
            self._answer(call, self._tapes.answer(worker, job, asked, function))
            return
        try:
            call.arguments, call.room = function.arguments(asked.args)
        except ValueError as error:
            # The guest's own fault, of which its outcome is record enough.
            self._answer(call, self._error(call, str(error)))
            return
        if function.knows_caller:
            caller = HostCall(job=job.id, tenant=job.tenant, attempt=job.attempt - job.returned, number=asked.call)
            call.arguments.insert(0, caller)
        if function.inline:
            self._make_inline(call)
            return
        call.taken = True
        self._lane(call).add(job.tenant, asked.ticket, call)
        self._bell.ring()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Start calls as there is room for them, until cancelled: each ends with the job that makes it."""
        task_status.started()
        while True:
            await self._bell.wait()
            for lane in (self._coroutines, self._threads):
                while (call := lane.take()) is not None:
                    self._tasks.start_soon(self._make, call, lane)

    def drop(self, worker: int, tickets: Iterable[int]) -> None:
        """End the calls of jobs that have ended."""
        out = self._out.get(worker)
        if out:
            for ticket in tickets:
                if (call := out.get(ticket)) is not None:
                    self._forget(call)
                    self._abandon(call)

    def recorded(self, worker: int, ticket: int, job: Job, functions: Sequence[HostFunction]) -> Recorded:
        """Return what there is of the calls of a job that has ended; `functions` are those that it could call."""
        return self._tapes.take(worker, ticket, job, functions)

    def drop_all(self, worker: int) -> None:
        """End the calls of a worker that is gone."""
        self.drop(worker, list(self._out.get(worker, ())))
        self._out.pop(worker, None)
        self._bytes.pop(worker, None)
        self._answers.pop(worker, None)
        self._tapes.drop_all(worker)

    def _abandon(self, call: _Call) -> None:
        call.dropped = True
        if call.function.inline or self._lane(call).drop(call.job.tenant, call.asked.ticket):
            return
        # What runs in a thread goes on there, and its place is taken until it ends.
        if call.scope is not None and call.function.is_coroutine:
            call.scope.cancel()

    def _forget(self, call: _Call) -> None:
        del self._out[call.worker][call.asked.ticket]
        self._bytes[call.worker] -= call.size

    def _lane(self, call: _Call) -> Lane[_Call]:
        return self._coroutines if call.function.is_coroutine else self._threads

    async def _make(self, call: _Call, lane: Lane[_Call]) -> None:
        """Make one call and answer it, whatever the function does."""
        function, arguments = call.function, call.arguments
        try:
            with anyio.CancelScope() as call.scope:
                if call.dropped:
                    return
                try:
                    if function.is_coroutine:
                        returned = await function.function(*arguments)
                    else:
                        returned = await anyio.to_thread.run_sync(
                            _returned, function.function, arguments, abandon_on_cancel=True, limiter=self._limiter
                        )
                except asyncio.CancelledError as error:
                    if call.scope.cancel_called or self._tasks.cancel_scope.cancel_called:
                        raise
                    self._raised(call, error)
                except (Exception, SystemExit) as error:
                    self._raised(call, error)
                else:
                    self._returned(call, returned)
        finally:
            lane.leave()
            if lane.waiting:
                self._bell.ring()

    def _make_inline(self, call: _Call) -> None:
        try:
            returned = call.function.function(*call.arguments)
        except (Exception, SystemExit) as error:
            self._raised(call, error)
        else:
            self._returned(call, returned)

    def _raised(self, call: _Call, error: BaseException) -> None:
        self._fail(call, f"raised {one_line(error)}", error)

    def _returned(self, call: _Call, returned: Any) -> None:
        try:
            results, data = call.function.results(returned, call.room, self._most)
        except ValueError as error:
            self._fail(call, str(error))
            return
        except Exception as error:  # what came is somebody else's object, whose methods may do anything
            self._raised(call, error)
            return
        self._answer(call, Answer(call.asked.ticket, call.asked.call, results, data))

    def _fail(self, call: _Call, what: str, error: BaseException | None = None) -> None:
        if call.dropped and error is None:
            return
        job, name = call.job, call.function.name
        self._log.warning("host.failed", function=name, job=job.id, tenant=job.tenant, error=what, exc_info=error)
        self._answer(call, self._error(call, what))

    @staticmethod
    def _error(call: _Call, what: str) -> Answer:
        return Answer(call.asked.ticket, call.asked.call, error=f"host function {call.function.name} {what}")

    def _answer(self, call: _Call, answer: Answer) -> None:
        if call.dropped:
            return
        self._forget(call)
        self._metrics.host_answered(self._clock.monotonic() - call.began)
        self._tapes.note(call.worker, call.job, call.asked, call.function, answer)
        self._answers.setdefault(call.worker, []).append(answer)
        if call.taken and not self._out[call.worker]:
            self.flush()
        elif call.taken and not self._flushing:
            # Calls that end together are answered together.
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send the answers that there are; to be called when a frame's calls have all begun."""
        self._flushing = False
        waiting, self._answers = self._answers, {}
        for worker, answers in waiting.items():
            self._send([Sending(worker, Answers(part)) for part in _parts(answers)])


def _returned(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    return function(*arguments)


def _size(asked: Asked) -> int:
    return sum([len(arg) for arg in asked.args if isinstance(arg, bytes)])


def _parts(answers: list[Answer]) -> Iterator[list[Answer]]:
    """Yield answers in parts that a frame has room for."""
    part: list[Answer] = []
    size = 0
    for answer in answers:
        weight = len(answer.data) if answer.data is not None else 0
        if part and size + weight > _FRAME:
            yield part
            part, size = [], 0
        part.append(answer)
        size += weight
    yield part
