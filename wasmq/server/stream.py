"""The route that tells of a job while it happens, as server-sent events.

Each event has an id that says how much has been told: whoever comes back with it as `Last-Event-ID` hears the present
state, and of the output only what is new. A comment keeps the connection alive where nothing happens. A reader that
takes nothing for a while is let go; nothing piles up behind it, for a worker is asked for more only when all that it
told before has been sent.
"""
# Annotations are read by litestar when a route is made, so they stay real objects here.

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from litestar import Request, get
from litestar.types import ASGIApp, Receive, Scope, Send

from wasmq.errors import SchedulerClosed, UnknownJob
from wasmq.events import JobEvent, JobFinished, Position
from wasmq.server.bodies import job_body
from wasmq.server.context import Context, Reply, caller_of, context_of, encode, query_of
from wasmq.store import JobRecord

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

__all__ = ["ABORT", "MEDIA_TYPE", "routes"]

MEDIA_TYPE: Final = "text/event-stream"
ABORT: Final = "wasmq.abort"
"""Where a request's scope has what cuts its connection off."""
HEARTBEAT: Final = 15.0
"""Seconds of silence after which a comment is sent."""
PATIENCE: Final = 30.0
"""Seconds that a reader may leave lying what was sent."""
RECHECK: Final = 1.0
"""Seconds until a stream of a token that was taken away, or has other roles now, ends."""
_END: Final = "end"
"""The id of the last event: a browser that comes back with it is told to stay away."""
_START: Final = b"retry: 1000\n\n"
_COMMENT: Final = b":\n\n"


@get("/v1/jobs/{id:str}/events")
async def job_events(request: Request[Any, Any, Any]) -> ASGIApp:
    """Tell what happens to a job, from its present state to its end."""
    context = context_of(request.app)
    caller = caller_of(request, "observe")
    query_of(request, ())
    record = caller.may_see(await context.scheduler.job(request.path_params["id"]))
    last = request.headers.get("last-event-id", "")
    if last == _END:
        return Reply(b"", 204)
    client = caller.tenant or (request.client.host if request.client is not None else "")
    context.check_stream(client)
    allowed = partial(context.keyring.still, _authorization(request.scope), caller)
    return _Stream(context, client, record, Position.parse(last) or Position(), allowed)


def _authorization(scope: Scope) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == b"authorization"), None)


class _Stream:
    """The response, for as long as it is `allowed`. Two tasks send: one what happens, one a comment now and then."""

    def __init__(
        self,
        context: Context,
        client: str,
        record: JobRecord,
        position: Position,
        allowed: "Callable[[], bool]",
    ) -> None:
        self._context = context
        self._client = client
        self._record = record
        self._position = position
        self._allowed = allowed
        self._turn = anyio.Lock()
        self._sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the job has ended, the reader is gone or does not read, or the daemon stops."""
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]

        async def put(data: bytes) -> None:
            async with self._turn:
                with anyio.fail_after(PATIENCE):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                self._sent = anyio.current_time()

        late = False
        with self._context.stream(self._client):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                with self._context.until_closed():
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
                        tasks.start_soon(self._beat, put)
                        tasks.start_soon(self._until_forbidden, tasks.cancel_scope)
                        await put(_START)
                        await self._tell(put)
                        tasks.cancel_scope.cancel()
            except* TimeoutError:
                late = True
            except* (UnknownJob, SchedulerClosed):
                pass  # it has left the history, or the daemon ends: nothing more can be told
        if late:
            # What was sent and not read would keep the connection from being closed in good order.
            cast("dict[str, Any]", scope).get(ABORT, bool)()
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_forbidden(self, scope: anyio.CancelScope) -> None:
        while self._allowed():  # noqa: ASYNC110 - a token ends by what a configuration no longer says
            await anyio.sleep(RECHECK)
        scope.cancel()

    async def _tell(self, put: "Callable[[bytes], Awaitable[None]]") -> None:
        events: AsyncGenerator[JobEvent] = self._context.scheduler.events(self._record.job.id, self._position)
        try:
            async for event in events:
                self._position = self._position.behind(event)
                await put(self._encoded(event))
        finally:
            with anyio.CancelScope(shield=True):
                await events.aclose()

    def _encoded(self, event: JobEvent) -> bytes:
        kind: str = type(event).__struct_config__.tag  # type: ignore[assignment]
        place: object = self._position
        data: Any = event
        if isinstance(event, JobFinished):
            place = _END
            data = job_body(JobRecord(self._record.job, "finished", event.outcome.attempts, event.outcome))
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(place).encode(), kind.encode(), encode(data))

    async def _beat(self, put: "Callable[[bytes], Awaitable[None]]") -> None:
        while True:
            quiet = anyio.current_time() - self._sent
            if quiet >= HEARTBEAT:
                await put(_COMMENT)
                quiet = 0.0
            await anyio.sleep(HEARTBEAT - quiet)


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


routes: Final = (job_events,)
