"""Connections as they come: as many as there may be, with the certificate of the moment where TLS is spoken."""

from __future__ import annotations

import asyncio
import errno
import resource
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
import msgspec

from wasmq.server.problems import MEDIA_TYPE, TooManyRequests, problem_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Sequence

    from anyio.abc import TaskGroup, TaskStatus

    from wasmq.config import ServerConfig
    from wasmq.server.refusals import Refusals
    from wasmq.server.tls import Certificate

__all__ = ["Acceptor", "most_connections"]

_OTHERS: Final = 256  # descriptors that are left to the store, the workers and the modules
_PAUSE: Final = 0.1  # seconds until the next try where the system has no room for a connection
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def most_connections(config: ServerConfig) -> int:
    """Return how many connections there may be: as many as the process' limit of open files leaves, at most."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(config.max_connections, files - _OTHERS))


class Acceptor:
    """Accepts what comes to `sockets`, and makes a connection of it with `make`, while there are fewer than the cap.

    Those that TLS is still being agreed on with count too.
    """

    def __init__(
        self, config: ServerConfig, sockets: Sequence[socket.socket], certificate: Certificate, refusals: Refusals
    ) -> None:
        self._most = most_connections(config)
        self._sockets = sockets
        self._certificate = certificate
        self._patience = config.head_timeout
        self._refusals = refusals
        self._arriving = 0
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._full = _refusal(f"{self._most} connections are open ([server] max_connections)")

    async def run(
        self,
        make: Callable[[], asyncio.Protocol],
        open_: Collection[object],
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept connections until closed or cancelled; `open_` are those that are open."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    for each in self._sockets:
                        tasks.start_soon(self._accept, each, make, open_, tasks)
                    task_status.started()
        finally:
            self._ended.set()

    async def close(self) -> None:
        """Accept nothing more, and return when that is so. Connections that are open stay so."""
        self._scope.cancel()
        await self._ended.wait()

    async def _accept(
        self,
        bound: socket.socket,
        make: Callable[[], asyncio.Protocol],
        open_: Collection[object],
        tasks: TaskGroup,
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                came, address = await loop.sock_accept(bound)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._refusals.note("the system has no room for a connection")
                    await anyio.sleep(_PAUSE)
                continue  # else who came is gone again
            if len(open_) + self._arriving >= self._most:
                self._refuse(came)
            else:
                self._arriving += 1
                tasks.start_soon(self._take, came, _host(address), make)
            # One that comes at once does not let the loop go on.
            await anyio.lowlevel.checkpoint()

    async def _take(self, came: socket.socket, client: str | None, make: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        context = self._certificate.context
        try:
            if context is None:
                await loop.connect_accepted_socket(make, came)
            else:
                await loop.connect_accepted_socket(make, came, ssl=context, ssl_handshake_timeout=self._patience)
        except OSError:
            if context is not None:
                self._refusals.note("no TLS came of it", client)
        finally:
            self._arriving -= 1

    def _refuse(self, came: socket.socket) -> None:
        self._refusals.note("too many connections")
        with came, suppress(OSError):
            if self._certificate.context is None:
                came.send(self._full)


def _host(address: object) -> str | None:
    """Return who has connected, None where there is no address, as with a socket that is a file."""
    return str(address[0]) if isinstance(address, tuple) else None


def _refusal(detail: str) -> bytes:
    body = msgspec.json.encode(problem_of(TooManyRequests(detail)))
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        "retry-after: 1\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
