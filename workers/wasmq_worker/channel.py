"""The worker's end of the socket: frames in, frames out, never waiting unless there is nothing else to do."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from wasmq_worker.protocol import Decoder, Downward, pack

if TYPE_CHECKING:
    import socket

    import msgspec

_CHUNK = 2**18


class Closed(Exception):
    """Raised when the scheduler's end is gone."""


class Channel:
    """A non-blocking stream socket that speaks frames."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(False)
        self._socket = stream
        self._decoder: Decoder[Downward] = Decoder(Downward)
        # Received into one buffer: a fresh one of this size for each look costs more than a whole short job.
        self._buffer = memoryview(bytearray(_CHUNK))
        self._unsent = bytearray()
        self._poll = select.poll()
        self._poll.register(stream, select.POLLIN)

    def receive(self) -> list[Downward]:
        """Return the frames that have come, at once. Raises `Closed` at the end of the stream."""
        if self._unsent:
            self._flush()
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return []
        except OSError as error:
            raise Closed(str(error)) from None
        if not size:
            raise Closed("end of stream")
        return self._decoder.feed(self._buffer[:size])

    def wait(self, seconds: float) -> bool:
        """Wait until something has come, at most so long; returns whether it has."""
        if not self._unsent:
            return bool(self._poll.poll(seconds * 1000.0))
        self._poll.modify(self._socket, select.POLLIN | select.POLLOUT)
        try:
            return bool(self._poll.poll(seconds * 1000.0))
        finally:
            self._poll.modify(self._socket, select.POLLIN)

    def send(self, frame: msgspec.Struct) -> None:
        """Send a frame, or keep what the socket does not take now for later. Raises `Closed`."""
        self._unsent += pack(frame)
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError as error:
            raise Closed(str(error)) from None
        del self._unsent[:sent]
