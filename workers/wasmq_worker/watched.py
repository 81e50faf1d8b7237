"""The jobs that somebody watches while they run: what they have done since that one last heard of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmq_worker.protocol import Glimpse, Progress, Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wasmq_worker.instance import Instance

GLANCE_EVERY: Final = 0.2
"""Seconds between two looks at the watched jobs."""
CHUNK: Final = 64 * 2**10
"""Bytes of each stream of a job that one look tells of; the next one tells of more."""
_FRAME: Final = 4 * 2**20


class Watched:
    """What is to be told, by the number of the watch. A watch ends when it is answered, or when its job has ended."""

    def __init__(self) -> None:
        self._watches: dict[int, Watch] = {}

    @property
    def any(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watches)

    def add(self, watch: Watch) -> None:
        """Take a watch; it replaces an earlier one of the same number."""
        self._watches[watch.watch] = watch

    def remove(self, watches: Iterable[int]) -> None:
        """Forget watches; those that are over already do not matter."""
        for number in watches:
            self._watches.pop(number, None)

    def look(self, live: Mapping[int, Instance]) -> Progress | None:
        """Return what is new of the watched jobs among `live`, by ticket; None when nothing is."""
        seen: list[Glimpse] = []
        size = 0
        for number, watch in list(self._watches.items()):
            instance = live.get(watch.ticket)
            if instance is None:
                del self._watches[number]
                continue
            glimpse = _glimpse(watch, instance)
            if glimpse is None:
                continue
            del self._watches[number]
            seen.append(glimpse)
            size += len(glimpse.stdout) + len(glimpse.stderr)
            if size >= _FRAME:
                break
        return Progress(seen) if seen else None


def _glimpse(watch: Watch, instance: Instance) -> Glimpse | None:
    fuel = instance.polled if instance.meter is not None else min(instance.polled, instance.assignment.fuel)
    stdout = stderr = b""
    if instance.guest is not None:
        world = instance.guest.world
        stdout = bytes(world.stdout[watch.stdout : watch.stdout + CHUNK])
        stderr = bytes(world.stderr[watch.stderr : watch.stderr + CHUNK])
    if fuel <= watch.fuel and not stdout and not stderr:
        return None
    return Glimpse(watch.watch, fuel, stdout, stderr)
