"""HTTP/1.1 on one connection: uvicorn's own protocol, with a bound on what comes before a request's body."""

from __future__ import annotations

from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wasmq.server.stream import ABORT

__all__ = ["MAX_HEAD", "Protocol"]

MAX_HEAD: Final = 64 * 2**10
"""Bytes of a request line and headers that are taken in without their end being seen."""
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Protocol(HttpToolsProtocol):
    """One connection."""

    _in_head = False
    _head = 0

    def data_received(self, data: bytes) -> None:
        """Take in what came, and end a connection whose headers have no end."""
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                if self.cycle is None or self.cycle.response_complete:
                    self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """Note that headers are coming."""
        super().on_message_begin()
        self._in_head = True
        self._head = 0
        cast("dict[str, Any]", self.scope)[ABORT] = self.transport.abort

    def on_headers_complete(self) -> None:
        """Note that they have come."""
        self._in_head = False
        super().on_headers_complete()
