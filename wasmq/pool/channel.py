"""The scheduler's end of a worker's socket. Frames that come up are hostile until they have been decoded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wasmq_worker.protocol import Decoder, ProtocolError, Upward, pack

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    import msgspec

_CHUNK = 2**18  # bytes


class Channel(asyncio.BufferedProtocol):
    """Calls `on_frame` with each frame as it comes, and `on_break` once with the reason when the other side errs."""

    def __init__(self, on_frame: Callable[[Upward], None], on_break: Callable[[str], None]) -> None:
        self._on_frame = on_frame
        self._on_break = on_break
        self._decoder: Decoder[Upward] = Decoder(Upward)
        self._transport: asyncio.WriteTransport | None = None
        # One buffer for all that comes: asyncio would otherwise make one of this size for each message.
        self._buffer = memoryview(bytearray(_CHUNK))

    @classmethod
    async def open(
        cls, stream: socket.socket, on_frame: Callable[[Upward], None], on_break: Callable[[str], None]
    ) -> Channel:
        """Return the channel over a connected socket, which it owns from then on."""
        channel = cls(on_frame, on_break)
        await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=stream)
        return channel

    def send(self, frame: msgspec.Struct) -> None:
        """Send a frame; to a worker that is gone, nothing happens: its process is watched elsewhere."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(frame))

    def close(self) -> None:
        """End the connection, which ends the worker."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what comes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Decode and hand on."""
        try:
            for frame in self._decoder.feed(self._buffer[:nbytes]):
                self._on_frame(frame)
        except ProtocolError as error:
            self.close()
            self._on_break(str(error))
