"""The listening side: addresses, the server's life, its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import anyio
import uvicorn

from wasmq.server.app import build_app
from wasmq.server.context import context_of
from wasmq.server.listen import BACKLOG, check_tls, forget_file, listen, listen_on_file
from wasmq.server.wire import within

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from wasmq.scheduler import Scheduler

__all__ = ["serve"]

_LAST_ANSWERS: Final = 5
"""Seconds that requests get to end, once none of them waits for a job any more."""


class _Server(uvicorn.Server):
    """uvicorn without hands on the process' signals: they belong to whoever owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    scheduler: Scheduler,
    *,
    ready: Callable[[str, int], None] | None = None,
    stopping: anyio.Event | None = None,
) -> None:
    """Answer HTTP for `scheduler` where its `[server]` says, until `stopping` is set or the caller cancels.

    `ready` is called with the host and the port (the real one where 0 was asked for, 0 with a socket that is a file)
    once connections are accepted. At the end no connection is accepted any more, requests that wait for a job are
    answered at once, and the others are finished first. Raises `ConfigError` when that cannot be listened on, when TLS
    cannot be spoken, or when the host is reachable from other machines while no token is wanted.
    """
    config = scheduler.config.server
    check_tls(config)
    port = 0
    if config.socket is not None:
        sockets = [listen_on_file(config.socket)]
    else:
        sockets = await listen(config.host, config.port, anywhere=scheduler.config.tokens_required)
        port = sockets[0].getsockname()[1]
    app = build_app(scheduler)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            http=within(config.head_timeout, config.body_timeout),
            ws="none",
            proxy_headers=False,
            backlog=BACKLOG,
            ssl_certfile=config.tls_cert,
            ssl_keyfile=config.tls_key,
            timeout_graceful_shutdown=_LAST_ANSWERS,
        )
    )

    async def stop_when_told() -> None:
        try:
            await (anyio.sleep_forever() if stopping is None else stopping.wait())
        finally:
            context_of(app).close()
            server.should_exit = True

    try:
        if ready is not None:
            ready(config.host, port)  # whoever connects from now on waits in the backlog at worst
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_when_told)
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
