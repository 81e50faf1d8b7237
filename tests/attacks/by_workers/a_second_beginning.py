"""A worker that says once more that it is ready, and is given everything anew."""

from __future__ import annotations

from wasmq_worker.protocol import Ready, pack


def forged(ticket: int) -> bytes:
    """Return it, of an engine that it has not."""
    return pack(Ready("wasmtime 99", 1e9))
