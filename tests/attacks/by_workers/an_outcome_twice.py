"""One job's outcome, told twice."""

from __future__ import annotations

from wasmq_worker.protocol import Ended, Outcomes, pack


def forged(ticket: int) -> bytes:
    """Return both in one frame: a job has one outcome, or none from whoever says two."""
    return pack(Outcomes([Ended(ticket, "succeeded"), Ended(ticket, "trapped", error="no")]))
