"""Jobs handed back for a module that the worker never had."""

from __future__ import annotations

from wasmq_worker.protocol import Unmappable, pack


def forged(ticket: int) -> bytes:
    """Return it, with a ticket of its own and one of nobody."""
    return pack(Unmappable(1_000_000, "x" * 10_000, [ticket, ticket + 1_000_000]))
