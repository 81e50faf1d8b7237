"""The accounts of a store with one owner: the ledger, and what each running job holds of it. In memory, without I/O.

What is changed is known until `keep` or `undo`, so that a store can write it, or take it back, with its batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wasmq.errors import KeyConflict
from wasmq.ledger import LOOK_AGAIN, Balance, Hold, Ledger, Wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wasmq.job import Job
    from wasmq.ledger import Terms


class Credited(msgspec.Struct, frozen=True, gc=False):
    """A credit that was given under a key: how much, and when, in seconds since 1970."""

    fuel: int
    at: float


class Accounts:
    """Reserves when jobs start, and settles when they end or start again."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        self.ledger = Ledger(terms)
        self.holds: dict[str, Hold] = {}
        """What running jobs hold, by job."""
        self.changed: dict[str, Hold | None] = {}
        """The jobs whose hold is another now, with what they held before."""
        self.credits: dict[tuple[str, str], Credited] = {}
        """Credits by tenant and key, the oldest first."""
        self.credited: list[tuple[str, str]] = []
        """Those of them that are new."""

    def recover(
        self,
        balances: Mapping[str, Balance],
        holds: Mapping[str, Hold],
        credits: Mapping[tuple[str, str], Credited],  # noqa: A002 - the field's own word
    ) -> None:
        """Go on with the accounts of an earlier life."""
        self.ledger.balances.update(balances)
        self.holds.update(holds)
        self.credits.update(credits)

    def start(self, job: Job, now: float) -> float | None:
        """Reserve for a job that is to start; returns None, or when to look again at its tenant, who has to wait."""
        decision = self.ledger.reserve(job, now)
        if isinstance(decision, Wait):
            return min(decision.until, now + LOOK_AGAIN)
        if decision is not None:
            self._set(job.id, decision)
        return None

    def end(self, job: Job, used: int) -> bool:
        """Settle for a job that has ended, or starts again with nothing `used`; returns whether that freed anything."""
        hold = self.holds.get(job.id)
        if hold is None:
            return False
        self._set(job.id, None)
        self.ledger.settle(job.tenant, hold, used)
        return True

    def refuel(self, job: Job, fuel: int, now: float) -> Job | Wait:
        """Reserve more for a running job, and return it with its raised cap."""
        hold = self.holds.get(job.id)
        if hold is not None:
            more = self.ledger.raise_cap(job.tenant, hold, fuel, now)
            if isinstance(more, Wait):
                return more
            self._set(job.id, more)
        return msgspec.structs.replace(job, refuelled=job.refuelled + fuel)

    def credit(self, tenant: str, fuel: int, now: float, key: str | None) -> bool:
        """See `Store.credit`. Raises `KeyConflict`."""
        known = None if key is None else self.credits.get((tenant, key))
        if known is not None:
            if known.fuel != fuel:
                raise KeyConflict(f"key {key!r} of tenant {tenant!r} was used for a credit of {known.fuel} fuel")
            return True
        if not self.ledger.credit(tenant, fuel, now):
            return False
        if key is not None:
            self.credits[tenant, key] = Credited(fuel, now)
            self.credited.append((tenant, key))
        return True

    def forget_credits(self, before: float) -> None:
        """Forget the keys of credits given earlier; the credits stay."""
        while self.credits and next(iter(self.credits.values())).at < before:
            del self.credits[next(iter(self.credits))]

    def balance(self, tenant: str) -> Balance:
        """Return a copy of a tenant's figures."""
        known = self.ledger.balances.get(tenant)
        return Balance() if known is None else msgspec.structs.replace(known)

    def keep(self) -> None:
        """Let the changes stand."""
        self.ledger.keep()
        self.changed, self.credited = {}, []

    def undo(self) -> None:
        """Take the changes back."""
        self.ledger.undo()
        for job_id, before in self.changed.items():
            if before is None:
                self.holds.pop(job_id, None)
            else:
                self.holds[job_id] = before
        for key in self.credited:
            self.credits.pop(key, None)
        self.changed, self.credited = {}, []

    def _set(self, job_id: str, hold: Hold | None) -> None:
        self.changed.setdefault(job_id, self.holds.get(job_id))
        if hold is None:
            del self.holds[job_id]
        else:
            self.holds[job_id] = hold
