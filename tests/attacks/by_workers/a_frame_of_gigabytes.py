"""The length of a frame that never comes."""

from __future__ import annotations

from wasmq_worker.protocol import LENGTH


def forged(ticket: int) -> bytes:
    """Return it: nobody waits for it, and nothing is set aside for it."""
    return LENGTH.pack(2**32 - 1) + b"x"
