"""Who goes next: virtual time in fuel. Pure, synchronous, no I/O, no clock of its own.

Start-time fair queueing (Goyal, Vin, Cheng 1996) across tenants. A job's start tag is the larger of the virtual time
and its tenant's last finish tag; the finish tag adds the fuel it is expected to use divided by the tenant's weight,
and is corrected by what it really used when it ends. The smallest start tag goes next, so the tag is the one sortable
number that every store keeps with a job.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEARNING = 0.2  # how far one outcome moves what its module and export are expected to cost
_MAX_COSTS = 10_000  # module and export pairs remembered


class _Account:
    __slots__ = ("finish", "waiting", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.finish = 0.0
        self.waiting = 0


class Fairness:
    """The tags of one queue. `unknown_cost` is the fuel expected of a call never seen before."""

    def __init__(self, unknown_cost: float) -> None:
        self.virtual = 0.0
        self._unknown_cost = unknown_cost
        self._accounts: dict[str, _Account] = {}
        self._costs: OrderedDict[tuple[str, str], float] = OrderedDict()

    def expect(self, module: str, export: str) -> float:
        """Return the fuel that a call of an export is expected to use."""
        return self._costs.get((module, export), self._unknown_cost)

    def tag(self, tenant: str, weight: float, cost: float) -> float:
        """Return the start tag of a tenant's next job, which is expected to use `cost` fuel."""
        account = self._account(tenant, weight)
        account.waiting += 1
        start = max(self.virtual, account.finish)
        account.finish = start + cost / weight
        return start

    def resume(self, jobs: Sequence[tuple[str, float, float, float]]) -> None:
        """Go on with jobs tagged in an earlier life: tenant, weight, start tag and expected fuel of each."""
        if jobs:
            self.virtual = max(self.virtual, min(order for _, _, order, _ in jobs))
        for tenant, weight, order, cost in jobs:
            account = self._account(tenant, weight)
            account.waiting += 1
            account.finish = max(account.finish, order + cost / weight)

    def started(self, order: float) -> None:
        """Move the virtual time to the tag of a job that starts."""
        self.virtual = max(self.virtual, order)

    def settled(self, tenant: str, cost: float, used: float) -> None:
        """Correct a tenant's tags by what its job really used in place of the `cost` it was expected to."""
        account = self._accounts.get(tenant)
        if account is not None:
            account.waiting = max(0, account.waiting - 1)  # others tag jobs too, where they share a store
            account.finish += (used - cost) / account.weight

    def learn(self, module: str, export: str, used: float) -> None:
        """Remember what a call used that ran to its end."""
        key = (module, export)
        known = self._costs.get(key)
        if known is None:
            if len(self._costs) >= _MAX_COSTS:
                self._costs.popitem(last=False)
            self._costs[key] = used
        else:
            self._costs[key] = known + _LEARNING * (used - known)

    def _account(self, tenant: str, weight: float) -> _Account:
        account = self._accounts.get(tenant)
        if account is None:
            self._forget_idle()
            account = self._accounts[tenant] = _Account(weight)
        account.weight = weight
        return account

    def _forget_idle(self) -> None:
        """Drop tenants with no job and no debt, only when there are many; costs a constant per new tenant."""
        if len(self._accounts) >= self._forget_at:
            self._accounts = {
                name: account
                for name, account in self._accounts.items()
                if account.waiting > 0 or account.finish > self.virtual
            }
            self._forget_at = max(1_000, 2 * len(self._accounts))

    _forget_at = 1_000
