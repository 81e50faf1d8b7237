"""Whose instance runs the next quantum. Pure: no clock, no I/O.

Start-time fair queueing (Goyal, Vin, Cheng 1996) over share keys, with fuel as the cost: a share's tag advances by
what its instances spent divided by its weight, and the smallest tag goes next. Within a share, instances that have
had a turn go round robin; those that have not come first, as long as first turns take no more than half of the share.
So a short job starts and ends at once beside any number of long ones, and a flood of short ones cannot stop those.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wasmq_worker.instance import Instance

START_COST: Final = 25_000
"""What making an instance counts as, in fuel: about the time of one start at native speed. Never billed."""


class _Share:
    __slots__ = ("credit", "fresh", "key", "queued", "ring", "tag", "weight")

    def __init__(self, key: int, tag: float) -> None:
        self.key = key
        self.tag = tag
        self.weight = 1.0
        self.fresh: OrderedDict[int, Instance] = OrderedDict()
        self.ring: OrderedDict[int, Instance] = OrderedDict()
        self.credit = 0
        self.queued = False


class Shares:
    """The instances that could run now, by share. `waiting` counts them, `fresh` those that had no turn yet."""

    def __init__(self, quantum: int) -> None:
        self.waiting = 0
        self.fresh = 0
        self._quantum = quantum
        self._shares: dict[int, _Share] = {}
        self._heap: list[tuple[float, int, _Share]] = []
        self._virtual = 0.0
        self._crowded = 1_000  # records at which to look for some to drop

    def add(self, instance: Instance) -> None:
        """Let a new instance wait for its first turn."""
        assignment = instance.assignment
        share = self._shares.get(assignment.share)
        if share is None:
            self._forget_idle()
            share = self._shares[assignment.share] = _Share(assignment.share, self._virtual)
        share.weight = assignment.weight
        share.fresh[assignment.ticket] = instance
        self.waiting += 1
        self.fresh += 1
        if not share.queued:
            share.tag = max(share.tag, self._virtual)
            self._push(share)

    def rejoin(self, instance: Instance) -> None:
        """Let an instance that was parked wait for a turn again."""
        assignment = instance.assignment
        share = self._shares.get(assignment.share)
        if share is None:
            share = self._shares[assignment.share] = _Share(assignment.share, self._virtual)
            share.weight = assignment.weight
        share.ring[assignment.ticket] = instance
        self.waiting += 1
        if not share.queued:
            share.tag = max(share.tag, self._virtual)
            self._push(share)

    def take(self) -> tuple[Instance, bool]:
        """Return the instance whose turn it is, and whether it is its first. One must be waiting.

        `charge` must follow before anything else.
        """
        while True:
            tag, _, share = heapq.heappop(self._heap)
            share.queued = False
            if share.fresh or share.ring:
                break
        self._virtual = tag
        self.waiting -= 1
        if share.fresh and (share.credit > 0 or not share.ring):
            self.fresh -= 1
            return share.fresh.popitem(last=False)[1], True
        share.credit = self._quantum
        return share.ring.popitem(last=False)[1], False

    def charge(self, instance: Instance, fuel: int, *, first: bool, more: bool) -> None:
        """Charge the turn just taken to its share; with `more` the instance waits for another."""
        assignment = instance.assignment
        share = self._shares[assignment.share]
        cost = fuel + START_COST if first else fuel
        if first:
            share.credit -= cost
        share.tag += cost / share.weight
        if more:
            share.ring[assignment.ticket] = instance
            self.waiting += 1
        if share.fresh or share.ring:
            self._push(share)

    def is_idle(self, instance: Instance) -> bool:
        """Return whether nothing else of an instance's share waits for a turn."""
        share = self._shares[instance.assignment.share]
        return not share.fresh and not share.ring

    def remove(self, instance: Instance) -> None:
        """Drop an instance that waits for a turn."""
        assignment = instance.assignment
        share = self._shares[assignment.share]
        if share.ring.pop(assignment.ticket, None) is None:
            del share.fresh[assignment.ticket]
            self.fresh -= 1
        self.waiting -= 1

    def _push(self, share: _Share) -> None:
        share.queued = True
        heapq.heappush(self._heap, (share.tag, share.key, share))

    def _forget_idle(self) -> None:
        """Drop the records of shares that have nothing here and no debt, each time there are twice as many as then."""
        if len(self._shares) > self._crowded:
            self._shares = {
                key: share for key, share in self._shares.items() if share.queued or share.tag > self._virtual
            }
            self._crowded = 2 * len(self._shares) + 1_000
