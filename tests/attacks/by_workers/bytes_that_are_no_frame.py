"""Bytes that mean nothing."""

from __future__ import annotations

from wasmq_worker.protocol import pack_raw


def forged(ticket: int) -> bytes:
    """Return a frame of them, of the right length."""
    return pack_raw(b"\xc1 no such thing \xff")
