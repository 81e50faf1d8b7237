"""The listening side: addresses, the server's life, its end."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from typing import TYPE_CHECKING, Final

import anyio
import uvicorn

from wasmq.errors import ConfigError, ResourceUnavailable
from wasmq.server.app import build_app
from wasmq.server.context import context_of
from wasmq.server.wire import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wasmq.scheduler import Scheduler

__all__ = ["serve"]

_BACKLOG: Final = 1024
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
    """Answer HTTP for `scheduler` on its `[server]` host and port until `stopping` is set or the caller cancels.

    `ready` is called with the host and the port (the real one where 0 was asked for) once connections are accepted.
    At the end no connection is accepted any more, requests that wait for a job are answered at once, and the others
    are finished first. Raises `ConfigError` when the host cannot be listened on, or is reachable from other machines
    while no token is wanted.
    """
    config = scheduler.config.server
    sockets = await _listen(config.host, config.port, anywhere=scheduler.config.tokens_required)
    port: int = sockets[0].getsockname()[1]
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
            backlog=_BACKLOG,
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


async def _run(server: _Server, sockets: list[socket.socket]) -> None:
    try:
        await server.serve(sockets)
    except anyio.get_cancelled_exc_class():
        # uvicorn leaves its listeners and connections open when it is cancelled.
        if server.started:
            with anyio.CancelScope(shield=True):
                await server.shutdown(sockets)
        raise


async def _listen(host: str, port: int, *, anywhere: bool) -> list[socket.socket]:
    """Return a bound socket for each of the host's addresses, all on one port."""
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ConfigError(f"server.host: {host!r} is not an address or a name that can be looked up") from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for _, address in addresses:
        if not anywhere and not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
            raise ConfigError(
                f"server.host: {host} can be reached from other machines, and anybody there could run jobs; "
                "use 127.0.0.1 or ::1, or give each tenant a token (see wasmq token)"
            )
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    try:
        for family, address in addresses:
            try:
                sockets.append(_bound(family, address[0], port))
            except OSError as error:
                # A name such as localhost may have an address of a family that this machine has switched off.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                refused = error
            else:
                port = sockets[0].getsockname()[1]
        if not sockets and refused is not None:
            raise refused
    except OSError as error:
        for each in sockets:
            each.close()
        kind = ResourceUnavailable if error.errno == errno.EADDRINUSE else ConfigError
        raise kind(_why_not(host, port, error)) from None
    return sockets


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # The protocol is named because asyncio sends answers without delay only on sockets that say they are TCP.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        # Another listener on the port shows here at the latest.
        bound.listen(_BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _why_not(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"server.port: {host} port {port} is taken by another process; choose another port, or 0 for any"
        case errno.EACCES:
            return f"server.port: {host} port {port} needs privileges; choose one above 1023"
        case _:
            return f"server.host: cannot listen on {host} port {port}: {error.strerror}"
