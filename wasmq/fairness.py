"""Who goes next: virtual time in fuel. Pure, synchronous, no I/O, no clock of its own.

Start-time fair queueing (Goyal, Vin, Cheng 1996) across tenants. A job's start tag is the larger of the virtual time
and its tenant's last finish tag; the finish tag adds the fuel it is expected to use divided by the tenant's weight,
and is corrected by what it really used when it ends. The smallest start tag goes next, so the tag is the one sortable
number that every store keeps with a job.

A tenant may have a head start, in fuel, on the others: it is taken off the start tags of its jobs, as if they had come
when so much less had been run, and changes no finish tag. So its jobs go before those that came with them, what came
longer ago still goes before those, and the shares stay what the weights say.

Daemons that share a store tag and correct the jobs of the same tenants, whoever runs them. What one does to a finish
tag is f → max(f + charge, floor), and so is any number of such steps together: every daemon says now and then what it
did in these two numbers, and goes on from what all have done.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LEARNING = 0.2  # how far one outcome moves what its module and export are expected to cost
_MAX_COSTS = 50_000  # calls remembered, of all tenants


class Charge(NamedTuple):
    """What happened to a tenant's finish tag: `charge` was added to it all in all, and it is `floor` or more now."""

    charge: float
    floor: float


NOTHING: Final = Charge(0.0, -math.inf)


class _Account:
    __slots__ = ("charge", "finish", "floor", "sent", "waiting", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.finish = 0.0
        self.waiting = 0
        # What others are being told, and what was done since.
        self.sent = NOTHING
        self.charge, self.floor = NOTHING

    @property
    def owes(self) -> bool:
        """Whether others are still to be told of something."""
        return self.charge != 0.0 or self.sent != NOTHING

    def charged(self, charge: float) -> None:
        self.finish += charge
        self.charge += charge
        self.floor += charge


class Fairness:
    """The tags of one queue. `unknown_cost` is the fuel expected of a call never seen before.

    With `weight` the queue is shared: it gives the weights of tenants whose jobs others have tagged. `ahead` gives the
    head start of a tenant, in fuel.
    """

    def __init__(
        self,
        unknown_cost: float,
        weight: Callable[[str], float] | None = None,
        ahead: Callable[[str], float] = lambda _: 0.0,
    ) -> None:
        self.virtual = 0.0
        self._unknown_cost = unknown_cost
        self._weight = weight
        self._ahead = ahead
        self._elsewhere: Mapping[str, float] = {}
        self._telling: dict[str, Charge] | None = None
        self._accounts: dict[str, _Account] = {}
        self._costs: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def expect(self, tenant: str, module: str, export: str) -> float:
        """Return the fuel that a tenant's call of an export is expected to use, by its own calls.

        Another's would tell it what they cost: estimates and refusals rest on this.
        """
        return self._costs.get((tenant, module, export), self._unknown_cost)

    def tag(self, tenant: str, weight: float, cost: float) -> float:
        """Return the start tag of a tenant's next job, which is expected to use `cost` fuel."""
        account = self._account(tenant, weight)
        account.waiting += 1
        account.finish = start = max(self.virtual, account.finish)
        account.floor = max(self.virtual, account.floor)
        account.charged(cost / weight)
        return start - self._ahead(tenant)

    def ahead(self, tenant: str, own: float = math.inf) -> float:
        """Return the fuel that is expected to be spent before a job starts that a tenant would submit now.

        By the tags: until the virtual time has come to the job's own, every tenant spends what it is tagged for up to
        there. Of the tenant's own jobs, those go before it that are expected to use `own` fuel, by default all. Costs
        a step for each tenant.
        """
        account = self._accounts.get(tenant)
        if account is None:
            return 0.0
        start = min(account.finish, self.virtual + own / account.weight)
        ahead = 0.0
        for other in self._accounts.values():
            ahead += max(0.0, min(other.finish, start) - self.virtual) * other.weight
        return ahead

    def resume(self, jobs: Sequence[tuple[str, float, float, float]]) -> None:
        """Go on with jobs tagged in an earlier life: tenant, weight, start tag and expected fuel of each."""
        if jobs:
            self.virtual = max(self.virtual, min(order + self._ahead(tenant) for tenant, _, order, _ in jobs))
        for tenant, weight, order, cost in jobs:
            account = self._account(tenant, weight)
            account.waiting += 1
            account.finish = max(account.finish, order + self._ahead(tenant) + cost / weight)

    def started(self, order: float, tenant: str | None = None) -> None:
        """Move the virtual time to the tag of a tenant's job that starts, or to where others have come.

        A job that was tagged before its tenant had this head start moves it no further than the tenant's last tag.
        """
        if tenant is not None:
            account = self._accounts.get(tenant)
            finish = self._elsewhere.get(tenant, order) if account is None else account.finish
            order = max(order, min(order + self._ahead(tenant), finish))
        self.virtual = max(self.virtual, order)

    def shift(self, tenant: str, cost: float, used: float) -> float:
        """Return how far a job that used more fuel than expected, or less, moves the later tags of its tenant.

        Those of jobs that wait are in the store, which is told; those to come follow from what has `settled`.
        """
        account = self._accounts.get(tenant)
        if account is None:
            return 0.0 if self._weight is None else (used - cost) / self._weight(tenant)
        return (used - cost) / account.weight

    def settled(self, tenant: str, cost: float, used: float) -> None:
        """Correct a tenant's tags by what its job really used in place of the `cost` it was expected to."""
        account = self._accounts.get(tenant)
        if account is None and self._weight is not None:
            account = self._account(tenant, self._weight(tenant))
        if account is not None:
            account.waiting = max(0, account.waiting - 1)  # others tag jobs too, where they share a store
            account.charged((used - cost) / account.weight)

    def settled_elsewhere(self, tenant: str) -> None:
        """Note that a job tagged here has ended in another daemon, which has corrected the tenant's tags."""
        account = self._accounts.get(tenant)
        if account is not None:
            account.waiting = max(0, account.waiting - 1)

    def charges(self) -> dict[str, Charge]:
        """Return what was done here to tenants' tags; the same again until they are `shared`, and then what came later.

        So whoever is told, without knowing whether it was heard, can say the very same again.
        """
        if self._telling is None:
            self._telling = {}
            for tenant, account in self._accounts.items():
                account.sent = Charge(account.charge, account.floor)
                account.charge, account.floor = NOTHING
                if account.sent != NOTHING:
                    self._telling[tenant] = account.sent
        return self._telling

    def shared(self, finishes: Mapping[str, float]) -> None:
        """Go on from the tags that all daemons have come to, with what `charges` said: all beyond the virtual time."""
        self._elsewhere = finishes
        self._telling = None
        for tenant, account in self._accounts.items():
            account.sent = NOTHING
            account.finish = max(finishes.get(tenant, -math.inf) + account.charge, account.floor)

    def learn(self, tenant: str, module: str, export: str, used: float) -> None:
        """Remember what a tenant's call used that ran to its end."""
        key = (tenant, module, export)
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
            account.finish = self._elsewhere.get(tenant, 0.0)
        account.weight = weight
        return account

    def _forget_idle(self) -> None:
        """Drop tenants with no job and no debt, only when there are many; costs a constant per new tenant."""
        if len(self._accounts) >= self._forget_at:
            self._accounts = {
                name: account
                for name, account in self._accounts.items()
                if account.waiting > 0 or account.finish > self.virtual or (self._weight is not None and account.owes)
            }
            self._forget_at = max(1_000, 2 * len(self._accounts))

    _forget_at = 1_000
