"""The listening side: addresses, the server's life, its end."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import anyio
import uvicorn

from wasmq.server.accept import Acceptor
from wasmq.server.app import build_app
from wasmq.server.context import context_of
from wasmq.server.listen import forget_file, listen, listen_on_file
from wasmq.server.refusals import Refusals
from wasmq.server.tls import Certificate
from wasmq.server.wire import within

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from anyio.abc import TaskGroup

    from wasmq.scheduler import Scheduler
    from wasmq.server.wire import Protocol

__all__ = ["serve"]

_LAST_ANSWERS: Final = 5
"""Seconds that requests get to end, once none of them waits for a job any more."""


class _Server(uvicorn.Server):
    """uvicorn whose connections come from an `Acceptor`, and without hands on the process' signals.

    Those belong to whoever owns the process.
    """

    def __init__(self, config: uvicorn.Config, acceptor: Acceptor, tasks: TaskGroup) -> None:
        super().__init__(config)
        self._acceptor = acceptor
        self._tasks = tasks

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        make = partial(
            cast("type[Protocol]", self.config.http_protocol_class),
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        self.servers = []
        await self._tasks.start(self._acceptor.run, make, self.server_state.connections)
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and let go of those that are open once they have been answered."""
        await self._acceptor.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    scheduler: Scheduler,
    *,
    ready: Callable[[str, int], None] | None = None,
    stopping: anyio.Event | None = None,
    certificate: Certificate | None = None,
) -> None:
    """Answer HTTP for `scheduler` where its `[server]` says, until `stopping` is set or the caller cancels.

    `ready` is called with the host and the port (the real one where 0 was asked for, 0 with a socket that is a file)
    once connections are accepted. At the end no connection is accepted any more, requests that wait for a job are
    answered at once, and the others are finished first. `certificate` is what TLS is spoken with, for who wants to
    reload it; else it is made of what `[server]` says. Raises `ConfigError` when that cannot be listened on, when TLS
    cannot be spoken, or when the host is reachable from other machines while no token is wanted.
    """
    config = scheduler.config.server
    certificate = certificate or Certificate(config)
    port = 0
    if config.socket is not None:
        sockets = [listen_on_file(config.socket)]
    else:
        sockets = await listen(config.host, config.port, anywhere=scheduler.config.tokens_required)
        port = sockets[0].getsockname()[1]
    app = build_app(scheduler)
    refusals = Refusals()
    settings = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        http=within(config.head_timeout, config.body_timeout, refusals),
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
    acceptor = Acceptor(config, sockets, certificate, refusals)

    async def stop_when_told(server: _Server) -> None:
        try:
            await (anyio.sleep_forever() if stopping is None else stopping.wait())
        finally:
            context_of(app).close()
            server.should_exit = True

    try:
        if ready is not None:
            ready(config.host, port)  # whoever connects from now on waits in the backlog at worst
        async with anyio.create_task_group() as tasks:
            server = _Server(settings, acceptor, tasks)
            tasks.start_soon(refusals.run)
            tasks.start_soon(stop_when_told, server)
            await _run(server, sockets)
            tasks.cancel_scope.cancel()
    finally:
        for each in sockets:
            each.close()
        if config.socket is not None:
            forget_file(config.socket)


async def _run(server: _Server, sockets: list[socket.socket]) -> None:
    try:
        await server.serve(sockets)
    except anyio.get_cancelled_exc_class():
        # uvicorn leaves its listeners and connections open when it is cancelled.
        if server.started:
            with anyio.CancelScope(shield=True):
                await server.shutdown(sockets)
        raise
