"""Who holds instances, and who has enough of them. Pure.

A tenant gets another instance only while it holds fewer than nine times as many as are free: the dynamic threshold of
Choudhury and Hahne ("Dynamic queue length thresholds for shared-memory packet switches", 1998). So one tenant alone
may hold nine in ten, two may hold nine in nineteen each, and something stays free for whoever holds none: a short job
need not wait until one of a thousand long ones ends. What tenants get of the workers' time is not decided here.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

FACTOR: Final = 9
"""How many times the free instances a tenant may hold. With fewer than ten instances one tenant can hold them all."""
_REMEMBERED: Final = 10_000
"""Tenants without an instance whose number is known: under the same one a worker knows what they owe."""


class _Holder:
    __slots__ = ("held", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.held = 0


class Slots:
    """Live instances by tenant. Each tenant has a number of its own, by which workers know whose turns are spent."""

    def __init__(self) -> None:
        self.held = 0
        """Instances of all tenants."""
        self._holders: dict[str, _Holder] = {}
        self._idle: OrderedDict[str, int] = OrderedDict()
        self._next = 1

    def enter(self, tenant: str) -> int:
        """Count an instance, and return its tenant's number."""
        holder = self._holders.get(tenant)
        if holder is None:
            number = self._idle.pop(tenant, None)
            if number is None:
                number = self._next
                self._next += 1
            holder = self._holders[tenant] = _Holder(number)
        holder.held += 1
        self.held += 1
        return holder.number

    def leave(self, tenant: str) -> None:
        """Count an instance that is gone."""
        holder = self._holders[tenant]
        holder.held -= 1
        self.held -= 1
        if not holder.held:
            del self._holders[tenant]
            self._idle[tenant] = holder.number
            if len(self._idle) > _REMEMBERED:
                self._idle.popitem(last=False)

    def sated(self, free: int) -> list[str]:
        """Return the tenants that get no instance while so many are free. Looks at each only when few are."""
        most = FACTOR * free
        if self.held < most:
            return []
        return [tenant for tenant, holder in self._holders.items() if holder.held >= most]

    @staticmethod
    def batch(free: int) -> int:
        """Return how many instances may be given at once when so many are free, whoever gets them: half, at least one.

        All may go to one tenant, which is then beyond its threshold by what leaves the other half.
        """
        return (free + 1) // 2
