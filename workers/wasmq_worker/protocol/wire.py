"""Frames as bytes: a 4-byte little-endian length and that many bytes of MessagePack, or raw bytes."""

from __future__ import annotations

import struct
from typing import Any, Generic, TypeVar

import msgspec

MAX_FRAME = 64 * 2**20
"""Bytes: the longest frame that either side accepts."""
LENGTH = struct.Struct("<I")
"""What goes before a frame: its length in bytes."""


class ProtocolError(Exception):
    """Raised when bytes from the other side are not a frame."""


_encoder = msgspec.msgpack.Encoder()


def pack(frame: msgspec.Struct) -> bytes:
    """Return a frame as it goes over the wire, length first."""
    return pack_raw(_encoder.encode(frame))


def pack_raw(payload: bytes, limit: int = MAX_FRAME) -> bytes:
    """Return bytes that are not MessagePack as one frame. Raises `ProtocolError` above `limit` bytes."""
    if len(payload) > limit:
        raise ProtocolError(f"a frame of {len(payload)} bytes is above the limit of {limit}")
    return LENGTH.pack(len(payload)) + payload


class Splitter:
    """Cuts a stream of bytes into frames' payloads."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """Return the payloads that `data` completes. Raises `ProtocolError` when a length is above the limit."""
        buffer = self._buffer
        buffer += data
        payloads = []
        start = 0
        while len(buffer) - start >= 4:
            (length,) = LENGTH.unpack_from(buffer, start)
            if length > self._limit:
                raise ProtocolError(f"a frame of {length} bytes is above the limit of {self._limit}")
            end = start + 4 + length
            if len(buffer) < end:
                break
            payloads.append(bytes(memoryview(buffer)[start + 4 : end]))
            start = end
        if start:
            del buffer[:start]
        return payloads


_F = TypeVar("_F")


class Decoder(Generic[_F]):
    """Turns a stream of bytes into frames of one direction."""

    def __init__(self, frames: Any, limit: int = MAX_FRAME) -> None:
        self._splitter = Splitter(limit)
        self._decoder: msgspec.msgpack.Decoder[_F] = msgspec.msgpack.Decoder(frames)

    def feed(self, data: bytes | memoryview) -> list[_F]:
        """Return the frames that `data` completes. Raises `ProtocolError` when bytes are not such a frame."""
        try:
            return [self._decoder.decode(payload) for payload in self._splitter.feed(data)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"not a frame: {error}") from None
