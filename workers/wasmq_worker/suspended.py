"""The instances of one worker that have spent their fuel: since when, and which of them are still to be told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmq_worker.protocol import Exhausted, Suspended

if TYPE_CHECKING:
    from wasmq_worker.instance import Instance


class Suspensions:
    """At most `most` instances, by ticket. Times are in seconds of the monotonic clock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._since: dict[int, tuple[Instance, float]] = {}
        self._untold: dict[int, Instance] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._since

    @property
    def untold(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._untold)

    def obstacle(self, instance: Instance) -> str | None:
        """Return the line with which an instance ends that there is no room for; None when there is room."""
        if len(self._since) < self._most:
            return None
        return spent(instance, f", and was not suspended: {self._most} jobs are, in its worker ([scheduler] suspended)")

    def add(self, instance: Instance, now: float) -> None:
        """Take an instance that has spent its fuel."""
        ticket = instance.assignment.ticket
        self._since[ticket] = instance, now
        self._untold[ticket] = instance

    def refuel(self, instance: Instance, fuel: int, now: float) -> bool:
        """Raise an instance's cap; returns whether it goes on now. One that does not is told of again."""
        if instance.refuel(fuel):
            self.release(instance, now)
            return True
        if instance.suspended:
            self._untold[instance.assignment.ticket] = instance
        return False

    def release(self, instance: Instance, now: float) -> None:
        """Let go of an instance: the time that it was suspended does not count."""
        ticket = instance.assignment.ticket
        _, since = self._since.pop(ticket)
        self._untold.pop(ticket, None)
        instance.postpone(max(0.0, now - since))

    def news(self) -> Suspended:
        """Return what is to be told, once."""
        exhausted = [
            Exhausted(ticket, instance.meter.cap)
            for ticket, instance in self._untold.items()
            if instance.meter is not None
        ]
        self._untold = {}
        return Suspended(exhausted)


def spent(instance: Instance, why: str) -> str:
    """Return the line with which an instance ends whose fuel is spent; `why` goes on with it."""
    meter = instance.meter
    assert meter is not None
    return f"out of fuel: spent all {meter.cap} units{why}"
