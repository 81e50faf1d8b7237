"""The fuel of an instance that is suspended when its cap is spent, and may be refuelled.

An instance whose own meter in the engine runs dry has trapped, and is gone. So the engine is given more fuel than any
job can spend, and only the slices are cut: the last one ends where the cap does. There the instance yields, as between
any two slices, at the very place where it would have trapped. How a call is cut into slices changes nothing that it
spends, so what it costs is the same however often it is refuelled.
"""

from __future__ import annotations

import ctypes
from typing import Final

from wasmq_worker import capi

ENGINE_FUEL: Final = 2**63 - 1
"""What the engine is given: as much as a cap can be raised to at the most."""

_set_fuel = capi.set_fuel
_get_fuel = capi.get_fuel
_yield_every = capi.yield_every


class Meter:
    """What one instance has spent, and may spend.

    `spent` is in fuel, as of when it was last looked at; it is above `cap` by what lay between the cap and the next
    place where the engine looks at its meter. That part is billed once the cap has been raised above it.
    """

    __slots__ = ("_at", "_context", "_fuel", "_until", "cap", "spent")

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.spent = 0
        self._until = 0
        self._fuel = ctypes.c_uint64()
        self._at = ctypes.addressof(self._fuel)

    @property
    def dry(self) -> bool:
        """Whether the cap is spent."""
        return self.spent >= self.cap

    @property
    def bill(self) -> int:
        """What the instance is charged for what it has spent: never more than the cap."""
        return min(self.spent, self.cap)

    def fill(self, context: int) -> None:
        """Give a new store its fuel."""
        self._context = context
        _set_fuel(context, ENGINE_FUEL)

    def look(self) -> None:
        """See what has been spent by now; nothing of the guest may be running, except in a call of its host."""
        _get_fuel(self._context, self._at)
        self.spent = ENGINE_FUEL - self._fuel.value

    def begin_slice(self, fuel_slice: int) -> None:
        """Let the instance spend a slice before it yields, or what its cap leaves of one."""
        self.look()
        self._until = min(self.spent + fuel_slice, self.cap)
        _yield_every(self._context, max(1, self._until - self.spent))

    def charge(self, cost: int) -> None:
        """Take fuel for a call of the host, also beyond the cap. What is left of the slice is left."""
        self.look()
        self.spent += cost
        # Setting the fuel would begin a whole slice anew.
        _yield_every(self._context, max(1, self._until - self.spent))
        _set_fuel(self._context, max(0, ENGINE_FUEL - self.spent))
