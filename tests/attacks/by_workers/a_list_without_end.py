"""A frame within its size that comes to gigabytes once it is read."""

from __future__ import annotations

from wasmq_worker.protocol import pack_raw


def forged(ticket: int) -> bytes:
    """Return five million tickets, one byte each."""
    count = 5_000_000
    return pack_raw(b"\x92\xa8Underway\xdd" + count.to_bytes(4, "big") + b"\1" * count)
