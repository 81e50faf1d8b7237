"""HTTP/1.1 on one connection: uvicorn's own protocol, with bounds on heads, on time, and on requests ahead of answers.

A client that sends its request drop by drop, or none at all, is let go. Time in which the daemon itself reads nothing,
because an earlier request on the connection is being answered or a body waits to be taken, is not held against it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wasmq.server.stream import ABORT

if TYPE_CHECKING:
    import asyncio

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from wasmq.server.refusals import Refusals

__all__ = ["MAX_HEAD", "Protocol", "within"]

MAX_HEAD: Final = 64 * 2**10
"""Bytes of a request line and headers that are taken in without their end being seen."""
MAX_HEADERS: Final = 128
"""Headers of one request: a read has room for forty thousand of the smallest."""
MAX_AHEAD: Final = 16
"""Requests that may wait on one connection behind the one that is being answered: one read has room for thousands, and
nobody else is served while they are taken apart."""
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Log(logging.LoggerAdapter[logging.Logger]):
    """uvicorn's log of one connection. What it warns of is what the client has sent, as often as that one likes."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__(logging.getLogger("uvicorn.error"))
        self._protocol = protocol
        self.level = self.logger.level

    def warning(self, msg: object, *args: object, **_: object) -> None:
        """Note that something was refused."""
        client, reason = self._protocol.client, self._protocol.reason or str(msg)
        self._protocol.refusals.note(reason, None if client is None else client[0])


class Protocol(HttpToolsProtocol):
    """One connection. A head may take `head_timeout` seconds from its first byte on, a body `body_timeout` after it.

    `refusals` is told of what came and was no request.
    """

    head_timeout: float
    body_timeout: float
    refusals: Refusals

    reason: str | None = None
    """Why what came is refused, where it was not wrong but too much."""
    _in_head = False
    _in_body = False
    _head = 0
    _timer: asyncio.TimerHandle | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = _Log(self)  # type: ignore[assignment]

    def _unsupported_upgrade_warning(self) -> None:
        self.logger.warning("another protocol than HTTP/1.1 was wanted")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._arm(self.head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what came, and end a connection whose headers have no end."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._end(_TOO_LARGE)
        elif not self._in_body and (self.cycle is None or self.cycle.response_complete):
            # Line ends before a request: uvicorn has stopped its own clock for idle connections at them.
            self._arm(self.head_timeout)

    def send_400_response(self, msg: str) -> None:
        """End the connection over what is no request, or too much; with an answer, if it cannot pass for another's."""
        if self.reason or not self._answerable:
            self._end(_TOO_LARGE)
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Note that headers are coming, and end the connection when too many requests wait already."""
        if len(self.pipeline) >= MAX_AHEAD:
            self._refuse(f"more than {MAX_AHEAD} requests wait behind one that is being answered")
        super().on_message_begin()
        self._in_head = True
        self._head = 0
        self._arm(self.head_timeout)
        cast("dict[str, Any]", self.scope)[ABORT] = self.transport.abort

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header, and end the connection when there have been too many."""
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._refuse(f"a request has more than {MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        """Note that they have come, and that a body may be coming."""
        self._in_head = False
        self._disarm()
        self._arm(self.body_timeout)
        super().on_headers_complete()
        self._in_body = True

    def on_message_complete(self) -> None:
        """Note that all has come."""
        self._in_body = False
        self._disarm()
        super().on_message_complete()

    def _arm(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._expired, seconds)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self, seconds: float) -> None:
        self._timer = None
        if self.flow.read_paused:
            self._arm(seconds)
        elif not self.transport.is_closing():
            self._end(_TOO_LATE)

    @property
    def _answerable(self) -> bool:
        """Whether what is coming can be answered now: no other answer is due before, and its own has not begun."""
        if self._in_body:
            return not self.pipeline and not self.cycle.response_started
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, reason: str) -> NoReturn:
        """Leave the parser, which takes this for what is wrong with what came. Raises OverflowError."""
        self.reason = reason
        raise OverflowError(reason)

    def _end(self, answer: bytes) -> None:
        """Close the connection, with an answer if a request has begun that can be answered."""
        if (self._in_head or self._in_body) and self._answerable:
            self.transport.write(answer)
        self.transport.close()


def within(head_timeout: float, body_timeout: float, refusals: Refusals) -> type[Protocol]:
    """Return the protocol with these bounds, in seconds."""
    bounds = {"head_timeout": head_timeout, "body_timeout": body_timeout, "refusals": refusals}
    return type("Protocol", (Protocol,), bounds)
