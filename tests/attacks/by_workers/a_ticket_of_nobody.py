"""An outcome of a job that the worker was never given."""

from __future__ import annotations

from wasmq_worker.protocol import Ended, Outcomes, pack


def forged(ticket: int) -> bytes:
    """Return it, beside a good one: neither counts."""
    return pack(Outcomes([Ended(ticket + 1_000_000, "succeeded", (1,)), Ended(ticket, "succeeded")]))
