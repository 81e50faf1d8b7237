"""Which waiting host call goes next. Pure: tenant by tenant in turn, so that one with many cannot keep out the rest."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Lane(Generic[_T]):
    """Room for so many calls at once; the others wait. Each is known by its ticket."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._waiting: OrderedDict[str, dict[int, _T]] = OrderedDict()

    def add(self, tenant: str, ticket: int, call: _T) -> None:
        """Let a call wait."""
        self._waiting.setdefault(tenant, {})[ticket] = call

    def take(self) -> _T | None:
        """Return the next call, which has its room until `leave`; None when none waits or there is no room."""
        if not self._room or not self._waiting:
            return None
        tenant, calls = self._waiting.popitem(last=False)
        call = calls.pop(next(iter(calls)))
        if calls:
            self._waiting[tenant] = calls
        self._room -= 1
        return call

    @property
    def waiting(self) -> bool:
        """Whether any call waits."""
        return bool(self._waiting)

    def leave(self) -> None:
        """Give back the room of a call that was taken."""
        self._room += 1

    def drop(self, tenant: str, ticket: int) -> bool:
        """Forget a call that still waits; returns whether it did."""
        calls = self._waiting.get(tenant)
        if calls is None or ticket not in calls:
            return False
        del calls[ticket]
        if not calls:
            del self._waiting[tenant]
        return True
