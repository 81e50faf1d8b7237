"""A job suspended at more fuel than it may spend, which nobody asked to be suspended."""

from __future__ import annotations

from wasmq_worker.protocol import Exhausted, Suspended, pack


def forged(ticket: int) -> bytes:
    """Return it: a bill for which there was never any fuel."""
    return pack(Suspended([Exhausted(ticket, 2**63 - 1)]))
