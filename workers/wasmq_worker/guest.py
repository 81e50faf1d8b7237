"""What one instance's imports see and leave behind: its world, its fuel, why it waits, how it ended."""

from __future__ import annotations

import ctypes
import math
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Final

from wasmq_worker import capi
from wasmq_worker.wasi import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from wasmq_worker.hosting import Question
    from wasmq_worker.meter import Meter
    from wasmq_worker.protocol import Answer, Prices, Program
    from wasmq_worker.wasi.preview2 import State

MAX_ENTRIES: Final = 10_000
"""Files, directories and links that one job may have."""
FOR_EVER: Final = math.inf

_set_fuel = capi.set_fuel
_get_fuel = capi.get_fuel
_yield_every = capi.yield_every


class OutOfFuel(Exception):
    """Raised when the guest cannot pay for what it asked its host to do."""


class Guest:
    """One instance as its imports know it.

    `wake` is when a parked instance wants to go on, in seconds of the monotonic clock, and None while it is not
    parked; `attempt` is then what it waits for: called at each poll, it returns whether the guest can go on. `ended`
    says that the guest called for its own end, with `exit_code`; `failure` is what went wrong on our side of a call,
    with the trap code `failure_code`. `state` is what a component's handles stand for, made when they are first needed.

    `question` is the host call that is out and `answer` what came of it; `calls` counts them all, of `max_calls` that
    there may be, and `called` those of each function.

    Host functions are paid in fuel. The engine gives an instance a whole slice each time its fuel is set, so a guest
    that calls its host often would never yield: what is left of the slice is kept here.
    """

    __slots__ = (
        "_byte_price",
        "_call_price",
        "_fuel",
        "_fuel_at",
        "_left",
        "_moved",
        "_remaining",
        "_slice",
        "answer",
        "attempt",
        "called",
        "calls",
        "ended",
        "exit_code",
        "failure",
        "failure_code",
        "max_calls",
        "memory",
        "over",
        "question",
        "seen",
        "state",
        "wake",
        "world",
    )

    def __init__(
        self, program: Program, output_cap: int, prices: Prices, fuel: int, fuel_slice: int, max_calls: int
    ) -> None:
        self.world = World(
            argv=program.argv,
            env=program.env,
            stdin=program.stdin,
            files=program.files,
            dirs=program.dirs,
            output_cap=output_cap,
            quota=program.quota,
            max_entries=MAX_ENTRIES,
            deterministic=program.deterministic,
            monotonic=monotonic_ns,
            wall=time_ns,
        )
        self.attempt: Callable[[], bool] | None = None
        self.wake: float | None = None
        self.exit_code = 0
        self.ended = False
        self.failure: str | None = None
        self.failure_code = "host"
        self.question: Question | None = None
        self.answer: Answer | None = None
        self.max_calls = max_calls
        self.calls = 0
        self.called: dict[int, int] = {}
        self.over = 0
        self.state: State | None = None
        # Its memory when it was last looked at, and what says that this is still it: see `imports.memory_of`.
        self.memory = memoryview(b"")
        self.seen: tuple[int, ...] = ()
        self._call_price = prices.call
        self._byte_price = prices.byte
        self._moved = 0
        self._fuel = ctypes.c_uint64()
        self._fuel_at = ctypes.addressof(self._fuel)
        self._slice = fuel_slice
        self._left = fuel
        self._remaining = fuel_slice

    def renew(self, context: int) -> None:
        """Give the instance a whole slice for the next poll, after one that it has spent."""
        self._left -= self._remaining
        self._refill(context)

    def resize(self, fuel_slice: int) -> None:
        """Note that slices hold another amount of fuel from now on, the one that comes included."""
        self._slice = self._remaining = fuel_slice

    def rest(self, context: int) -> int:
        """Give a parked instance a whole slice for when it goes on, and return what it has spent of this one."""
        spent = self._slice - self._remaining
        self._refill(context)
        return spent

    def _refill(self, context: int) -> None:
        if self._remaining != self._slice:
            self._remaining = self._slice
            # Nothing of the guest runs between two polls, so its meter may be set.
            _yield_every(context, self._slice)

    def pay(self, context: int) -> None:
        """Charge one call of the host, and the bytes that it has moved. Raises `OutOfFuel`."""
        # Written out: every call of the host comes through here.
        world = self.world
        moved = world.copied + world.tree.work
        cost = self._call_price + (moved - self._moved) * self._byte_price
        self._moved = moved
        self.charge(context, cost)

    def pay_call(self, context: int) -> None:
        """Charge one call of the host. Raises `OutOfFuel`."""
        self.charge(context, self._call_price)

    def pay_moved(self, context: int) -> None:
        """Charge the bytes that have been moved since they were charged last. Raises `OutOfFuel`."""
        moved = self.world.moved
        cost = (moved - self._moved) * self._byte_price
        self._moved = moved
        self.charge(context, cost)

    def pay_bytes(self, context: int, size: int, price: int = 0) -> None:
        """Charge bytes that a host call moves, and the call's own price. Raises `OutOfFuel`."""
        self.charge(context, price + size * self._byte_price)

    def when_paid(self, then: Callable[[], bool]) -> bool:
        """Go on with a call of the host as soon as all that was charged is covered, which it is if it was not refused.

        Returns what `then` does: whether the call is done.
        """
        return then()

    def go_on(self) -> bool:
        """Note that the call of the host is done, and return so."""
        self.wake = self.attempt = None
        return True

    def charge(self, context: int, cost: int) -> None:
        """Take fuel from the instance. Raises `OutOfFuel` when it has not so much, and takes what there is."""
        _get_fuel(context, self._fuel_at)
        left = self._fuel.value
        remaining = self._remaining - (self._left - left) - cost
        if cost >= left:
            _set_fuel(context, 0)
            self._left = 0
            raise OutOfFuel
        if remaining < 1:
            # More than a slice in one go: the turn loop hears of it through `over`.
            self.over -= remaining - 1
            remaining = 1
        self._remaining = remaining
        self._left = left - cost
        _yield_every(context, remaining)
        _set_fuel(context, self._left)


class RefuellableGuest(Guest):
    """One that is not refused what it cannot pay for: it is held in its call until its cap has been raised."""

    __slots__ = ("_meter",)

    def __init__(
        self, program: Program, output_cap: int, prices: Prices, meter: Meter, fuel_slice: int, max_calls: int
    ) -> None:
        super().__init__(program, output_cap, prices, meter.cap, fuel_slice, max_calls)
        self._meter = meter

    def charge(self, context: int, cost: int) -> None:
        """Take fuel from the instance, also beyond its cap."""
        self._meter.charge(cost)

    def when_paid(self, then: Callable[[], bool]) -> bool:
        """See `Guest.when_paid`: until then the guest is parked, and its call not done."""
        if self._meter.dry:
            self.attempt = lambda: self.when_paid(then)
            self.wake = FOR_EVER
            return False
        self.attempt = then
        self.wake = None
        return then()
