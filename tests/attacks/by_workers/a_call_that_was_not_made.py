"""A host call of a function that no module of the job imports."""

from __future__ import annotations

from wasmq_worker.protocol import Asked, Asks, pack


def forged(ticket: int) -> bytes:
    """Return it: the worker is not who decides what is granted."""
    return pack(Asks([Asked(ticket, 1, 4_711, (1, b"x"))]))
