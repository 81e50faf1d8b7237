"""What every route needs: the scheduler, and the requests that wait for a job."""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import msgspec

from wasmq.errors import UnknownJob
from wasmq.modules import is_digest, no_such_module
from wasmq.server.guard import CALLER
from wasmq.server.problems import InvalidQuery, TooManyStreams

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from litestar import Litestar, Request
    from litestar.types import Receive, Scope, Send

    from wasmq.config import Role
    from wasmq.scheduler import Scheduler
    from wasmq.server.tokens import Caller, Keyring
    from wasmq.store import JobRecord
    from wasmq.submission import Accepted

__all__ = ["Context", "Reply", "body_of", "caller_of", "context_of", "encode", "json_response", "query_of"]

_KEY: Final = "wasmq"
encode: Final = msgspec.json.Encoder().encode


class Context:
    """The one object behind the routes of one application."""

    def __init__(self, scheduler: Scheduler, keyring: Keyring) -> None:
        self.scheduler = scheduler
        self.keyring = keyring
        self.config = scheduler.config.server
        self._waits: set[anyio.CancelScope] = set()
        self._closing = False
        self._streams: Counter[str] = Counter()
        self._modules: dict[str, OrderedDict[str, None]] = {}

    def attach(self, app: Litestar) -> None:
        """Make this the context of `app`."""
        app.state[_KEY] = self

    @contextmanager
    def until_closed(self) -> Iterator[None]:
        """Give up what is done inside when the daemon stops."""
        with anyio.CancelScope() as scope:
            if self._closing:
                scope.cancel()
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)

    @contextmanager
    def stream(self, client: str) -> Iterator[None]:
        """Count a stream of events of a client while it is open."""
        self._streams[client] += 1
        try:
            yield
        finally:
            self._streams[client] -= 1
            if not self._streams[client]:
                del self._streams[client]

    def check_stream(self, client: str) -> None:
        """Raise `TooManyStreams` when a client cannot have one more stream of events."""
        streams = self._streams
        if streams.total() >= self.config.max_streams:
            raise TooManyStreams(f"{self.config.max_streams} streams of events are open already ([server] max_streams)")
        if streams[client] >= self.config.max_client_streams:
            raise TooManyStreams(
                f"{self.config.max_client_streams} streams of events are open for {client} already "
                "([server] max_client_streams)"
            )

    async def check_modules(self, caller: Caller, digests: Iterable[str]) -> None:
        """Raise `UnknownModule`, as for one that is not there, unless all modules are the caller's to use.

        Asked before anything else is done with a digest, so that nothing else can tell whether others have loaded it.
        """
        if caller.sees_all or caller.tenant is None:
            return
        # What the store said once stays so; what it did not know may come at any moment, also by way of another daemon.
        known = self._modules.setdefault(caller.tenant, OrderedDict())
        asked = [digest for digest in dict.fromkeys(digests) if digest not in known]
        if not asked:
            return
        found = await self.scheduler.shared([digest for digest in asked if is_digest(digest)], caller.tenant)
        for digest in asked:
            if digest not in found:
                raise no_such_module(digest)
            known[digest] = None
        while len(known) > self.scheduler.config.modules.max_loaded:
            known.popitem(last=False)

    async def wait(self, id: str, seconds: float) -> JobRecord:  # noqa: A002 - the field's own word
        """Return the job when it has finished, after `seconds`, or when the daemon stops, whichever comes first."""
        record: JobRecord | None = None
        if not self._closing:
            with self.until_closed():
                record = await self.scheduler.wait(id, seconds)
        return record or await self.scheduler.job(id)

    async def wait_for(self, jobs: Sequence[Accepted], seconds: float) -> None:
        """Return when all jobs have finished, after `seconds`, or when the daemon stops, whichever comes first."""
        with self.until_closed(), anyio.move_on_after(seconds):
            for job in jobs:
                await job.handle

    async def wait_for_ids(self, ids: Sequence[str], seconds: float) -> None:
        """Do the same for jobs that are known by their ids; of those that have left the history meanwhile, none."""
        with self.until_closed(), anyio.move_on_after(seconds):
            for job_id in ids:
                with suppress(UnknownJob):
                    await self.scheduler.wait(job_id)

    def close(self) -> None:
        """Let every waiting request answer now with the job as it is, and let none wait any more."""
        self._closing = True
        for scope in self._waits:
            scope.cancel()


def context_of(app: Litestar) -> Context:
    """Return the context that was attached to `app`."""
    context: Context = app.state[_KEY]
    return context


def caller_of(request: Request[Any, Any, Any], role: Role) -> Caller:
    """Return who asks. Raises `Forbidden` unless that one has a role."""
    caller: Caller = cast("dict[str, Any]", request.scope)[CALLER]
    caller.must(role)
    return caller


class Reply:
    """A response whose bytes are ready. The framework's own costs more to make than many a job to route."""

    __slots__ = ("_body", "_media", "_status")

    def __init__(self, body: bytes, status: int = 200, media: bytes = b"application/json") -> None:
        self._body = body
        self._status = status
        self._media = media

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it: an ASGI application."""
        headers = [(b"content-type", self._media), (b"content-length", str(len(self._body)).encode())]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


def json_response(body: Any, status: int = 200) -> Reply:
    """Return `body` (a struct, or bytes that are JSON already) as a response."""
    return Reply(body if isinstance(body, bytes) else encode(body), status)


async def body_of(request: Request[Any, Any, Any]) -> bytes:
    """Return the request's body, put together while it comes.

    Joined at its end, one of 30 MB would keep everybody else waiting for 20 ms; this copies nothing then.
    """
    body = BytesIO()
    async for piece in request.stream():
        body.write(piece)
    return body.getvalue()


def query_of(request: Request[Any, Any, Any], known: Collection[str]) -> dict[str, str]:
    """Return the query's parameters. Raises `InvalidQuery` when one is not `known` or comes twice."""
    found: dict[str, str] = {}
    if not request.scope["query_string"]:
        return found
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise InvalidQuery(f"unknown query parameter {name!r}; known here: {', '.join(known) or 'none'}")
        if name in found:
            raise InvalidQuery(f"query parameter {name!r} is given twice")
        found[name] = value
    return found
