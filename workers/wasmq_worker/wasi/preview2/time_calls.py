"""`wasi:io/poll`, and `wasi:clocks`, whose instants are all that is ever waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wasmq_worker.wasi.preview2.handles import Pollable
from wasmq_worker.wasi.preview2.interface import Declaration, named
from wasmq_worker.wasi.signals import Sleep, Violated

if TYPE_CHECKING:
    from wasmq_worker.wasi.preview2.state import State

SECOND: Final = 1_000_000_000
_LAST: Final = (1 << 64) - 1

DATETIME: Final = "record { seconds: u64, nanoseconds: u32 }"

_poll = Declaration("wasi:io/poll")
_poll.resource("pollable", Pollable)
_monotonic = Declaration("wasi:clocks/monotonic-clock")
_wall = Declaration("wasi:clocks/wall-clock", named(datetime=DATETIME))


@_poll.function("poll", "list<borrow<pollable>>", result="list<u32>", waits=True)
def poll(state: State, pollables: list[int]) -> list[int]:
    """Return which are ready, by their places in the list. Raises `Sleep` when none is yet, `Violated` for no list."""
    if not pollables:
        raise Violated("a poll for nothing")
    dues = [state.get(number, Pollable).due for number in pollables]
    now = _awaited(state, min(dues))
    return [index for index, due in enumerate(dues) if due <= now]


@_poll.function("[method]pollable.ready", "borrow<pollable>", result="bool")
def ready(state: State, pollable: int) -> bool:
    """Return whether it is ready now."""
    due = state.get(pollable, Pollable).due
    return not due or due <= state.world.clock.monotonic()


@_poll.function("[method]pollable.block", "borrow<pollable>", waits=True)
def block(state: State, pollable: int) -> None:
    """Return when it is ready. Raises `Sleep` until then."""
    _awaited(state, state.get(pollable, Pollable).due)


@_monotonic.function("now", result="u64")
def monotonic_now(state: State) -> int:
    """Return nanoseconds since a second before the job began."""
    return state.world.clock.monotonic()


@_monotonic.function("resolution", result="u64")
def monotonic_resolution(state: State) -> int:
    """Return nanoseconds."""
    return state.world.clock.resolution


@_monotonic.function("subscribe-instant", "u64", result="own<pollable>")
def subscribe_instant(state: State, when: int) -> int:
    """Return a pollable that is ready from an instant on."""
    return state.hold(Pollable(when))


@_monotonic.function("subscribe-duration", "u64", result="own<pollable>")
def subscribe_duration(state: State, duration: int) -> int:
    """Return a pollable that is ready after some nanoseconds."""
    return state.hold(Pollable(min(state.world.clock.monotonic() + duration, _LAST)))


@_wall.function("now", result="datetime")
def wall_now(state: State) -> dict[str, int]:
    """Return the time since 1970."""
    return datetime(state.world.clock.wall())


@_wall.function("resolution", result="datetime")
def wall_resolution(state: State) -> dict[str, int]:
    """Return how finely that is divided."""
    return datetime(state.world.clock.resolution)


def datetime(time: int) -> dict[str, int]:
    """Return nanoseconds as WIT has them."""
    seconds, nanoseconds = divmod(time, SECOND)
    return {"seconds": seconds, "nanoseconds": nanoseconds}


def _awaited(state: State, due: int) -> int:
    """Return an instant from `due` on that is not in the future. Raises `Sleep` when there is none yet."""
    clock = state.world.clock
    now = clock.monotonic()
    if due <= now:
        return now
    if clock.wait(due):
        return due
    raise Sleep(clock.outside(due))
