"""What the handles of one instance stand for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.signals import Violated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wasmq_worker.wasi.preview2.handles import Handle
    from wasmq_worker.wasi.world import World

    H = TypeVar("H", bound=Handle)

HANDLES_MAX: Final = 4096
# The most that all resources of an instance keep of what the guest gave them, in bytes.
KEPT_MAX: Final = 1 << 20
# What making a handle costs, in bytes of `World.moved`: about what it takes of this process's memory.
_COST: Final = 128
_KEEPING: Final = f"resources would keep more than {KEPT_MAX} bytes together"


class State:
    """All resources that an instance has handles to, each under a number of its own.

    Numbers of dropped resources are given again. An instance has at most 4096 at a time, and what
    they keep of what it gave them is at most 1 MiB. A file stays in its `Tree`
    as long as a resource of any kind needs it, whatever was dropped before.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._held: dict[int, Handle] = {}
        self._free: list[int] = []
        self._kept = 0

    def __len__(self) -> int:
        """Return how many resources there are."""
        return len(self._held)

    def hold(self, handle: Handle) -> int:
        """Give a resource a number. Raises `Violated` when there are too many, or they keep too much."""
        if len(self._held) >= HANDLES_MAX:
            raise Violated(f"more than {HANDLES_MAX} resources at a time")
        if self._kept + handle.kept > KEPT_MAX:
            raise Violated(_KEEPING)
        self._kept += handle.kept
        number = self._free.pop() if self._free else len(self._held) + 1
        self._held[number] = handle
        if handle.node is not None:
            self.world.tree.opened(handle.node)
        self.world.copied += _COST
        return number

    def get(self, number: int, kind: type[H]) -> H:
        """Return what a number stands for. Raises `Violated` unless it is of this kind."""
        found = self._held.get(number)
        if not isinstance(found, kind):
            raise Violated(f"there is no {kind.__name__} with number {number}")
        return found

    def drop(self, number: int, kind: type[Handle]) -> None:
        """Forget a resource. Raises `Violated` unless it is of this kind."""
        self.take(number, kind)

    def take(self, number: int, kind: type[H]) -> H:
        """Forget a resource and return what it was. Raises `Violated` unless it is of this kind."""
        found = self.get(number, kind)
        del self._held[number]
        self._free.append(number)
        self._kept -= found.kept
        if found.node is not None:
            self.world.tree.closed(found.node)
        return found

    @contextmanager
    def growing(self, number: int, kind: type[H]) -> Iterator[H]:
        """Yield what a number stands for, to change how much it keeps. Raises `Violated` when that is too much."""
        found = self.get(number, kind)
        before = found.kept
        yield found
        self._kept += found.kept - before
        if self._kept > KEPT_MAX:
            raise Violated(_KEEPING)

    def check_room(self) -> None:
        """Raise `Failed(MFILE)` when there is no number for one more."""
        if len(self._held) >= HANDLES_MAX:
            raise Failed(Errno.MFILE)
