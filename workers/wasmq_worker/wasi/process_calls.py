"""The functions on everything but files: arguments, environment, clocks, random bytes, waiting, the end; sockets."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NoReturn

from wasmq_worker.wasi import abi
from wasmq_worker.wasi.abi import FUNCTIONS, function, put, put_bytes, room
from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.signals import Exit, Sleep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmq_worker.wasi.world import World

_REALTIME, _MONOTONIC, _PROCESS, _THREAD = range(4)
_CLOCK, _FD_READ, _FD_WRITE = range(3)
_ABSOLUTE: Final = 1
_HANGUP: Final = 1
# Making random bytes is slow, and nothing else runs meanwhile.
_RANDOM_MAX: Final = 1 << 20
_SUBSCRIPTIONS_MAX: Final = 1024
# What a write to a descriptor that always takes everything is said to have room for.
_ROOM: Final = 1 << 16

_subscription = Struct("<QBxxxxxxxIxxxxQQHxxxxxx")
_event = Struct("<QHBxxxxxQHxxxxxx")


@function("ii")
def args_get(world: World, memory: memoryview, pointers: int, buffer: int) -> None:
    """Store the arguments, and where each begins."""
    _put_strings(world, memory, pointers, buffer, world.argv)


@function("ii")
def args_sizes_get(world: World, memory: memoryview, count: int, size: int) -> None:
    """Store how many arguments there are, and how many bytes they take."""
    _put_sizes(world, memory, count, size, world.argv)


@function("ii")
def environ_get(world: World, memory: memoryview, pointers: int, buffer: int) -> None:
    """Store the environment as NAME=value, and where each begins."""
    _put_strings(world, memory, pointers, buffer, world.env)


@function("ii")
def environ_sizes_get(world: World, memory: memoryview, count: int, size: int) -> None:
    """Store how many environment variables there are, and how many bytes they take."""
    _put_sizes(world, memory, count, size, world.env)


@function("ii")
def clock_res_get(world: World, memory: memoryview, clock: int, out: int) -> None:
    """Store a clock's resolution in nanoseconds."""
    if clock > _THREAD:
        raise Failed(Errno.INVAL)
    put(world, memory, out, abi.U64, world.clock.resolution)


@function("ili")
def clock_time_get(world: World, memory: memoryview, clock: int, precision: int, out: int) -> None:
    """Store a clock's time in nanoseconds. The CPU clocks show the time since the job began, waiting included."""
    room(memory, out, 8)
    if clock == _REALTIME:
        time = world.clock.wall()
    elif clock == _MONOTONIC:
        time = world.clock.monotonic()
    elif clock <= _THREAD:
        time = world.clock.monotonic() - world.clock.started
    else:
        raise Failed(Errno.INVAL)
    put(world, memory, out, abi.U64, time)


@function("ii")
def random_get(world: World, memory: memoryview, buffer: int, size: int) -> None:
    """Store random bytes. Raises `Failed(IO)` for more than 1 MiB at once."""
    room(memory, buffer, size)
    if size > _RANDOM_MAX:
        raise Failed(Errno.IO)
    put_bytes(world, memory, buffer, world.random(size))


@function("")
def sched_yield(world: World, memory: memoryview) -> None:
    """Do nothing: a guest's turn ends when its quantum does."""


@function("i")
def proc_raise(world: World, memory: memoryview, signal: int) -> None:
    """Raise `Failed(NOSYS)`: there are no signals."""
    raise Failed(Errno.NOSYS)


def proc_exit(world: World, memory: memoryview, code: int) -> NoReturn:
    """End the guest: raises `Exit`."""
    raise Exit(code)


FUNCTIONS["proc_exit"] = (("i32",), (), proc_exit)


@function("iiii")
def poll_oneoff(world: World, memory: memoryview, subscriptions: int, events: int, count: int, out: int) -> None:
    """Store what has happened of what was subscribed to. Raises `Sleep` when that is nothing yet.

    Files and streams are always ready, standard input at its end too, so that only clocks are ever waited for.
    """
    if not 0 < count <= _SUBSCRIPTIONS_MAX:
        raise Failed(Errno.INVAL)
    room(memory, subscriptions, count * _subscription.size)
    room(memory, events, count * _event.size)
    room(memory, out, 4)
    now = world.clock.monotonic()
    arguments = (subscriptions, events, count, out)
    called = world.polling[1] if world.polling is not None and world.polling[0] == arguments else now
    ready: list[tuple[int, ...]] = []
    waiting: list[tuple[int, int]] = []
    end = subscriptions + count * _subscription.size
    for data, kind, number, timeout, _, flags in _subscription.iter_unpack(memory[subscriptions:end]):
        if kind in (_FD_READ, _FD_WRITE):
            ready.append((data, *_readiness(world, kind, number)))
        elif kind != _CLOCK:
            raise Failed(Errno.INVAL)
        elif number > _MONOTONIC or flags & ~_ABSOLUTE:
            ready.append((data, Errno.NOTSUP if _MONOTONIC < number <= _THREAD else Errno.INVAL, _CLOCK, 0, 0))
        elif not flags & _ABSOLUTE:
            waiting.append((called + timeout, data))
        elif number == _MONOTONIC:
            waiting.append((timeout, data))
        else:
            waiting.append((world.clock.monotonic_at(timeout), data))
    due = [data for when, data in waiting if when <= now]
    if not ready and not due:
        until = min(waiting)[0]
        if not world.clock.wait(until):
            world.polling = (arguments, called)
            raise Sleep(world.clock.outside(until))
        due = [data for when, data in waiting if when <= until]
    world.polling = None
    ready.extend((data, 0, _CLOCK, 0, 0) for data in due)
    world.copied += count * _subscription.size
    for event in ready:
        put(world, memory, events, _event, *event)
        events += _event.size
    put(world, memory, out, abi.U32, len(ready))


@function("iii")
def sock_accept(world: World, memory: memoryview, fd: int, flags: int, out: int) -> None:
    """Raise `Failed`: there are no sockets."""
    _no_socket(world, fd)


@function("iiiiii")
def sock_recv(
    world: World, memory: memoryview, fd: int, iovs: int, count: int, flags: int, out: int, out_flags: int
) -> None:
    """Raise `Failed`: there are no sockets."""
    _no_socket(world, fd)


@function("iiiii")
def sock_send(world: World, memory: memoryview, fd: int, iovs: int, count: int, flags: int, out: int) -> None:
    """Raise `Failed`: there are no sockets."""
    _no_socket(world, fd)


@function("ii")
def sock_shutdown(world: World, memory: memoryview, fd: int, how: int) -> None:
    """Raise `Failed`: there are no sockets."""
    _no_socket(world, fd)


def _no_socket(world: World, fd: int) -> NoReturn:
    world.descriptors.get(fd)
    raise Failed(Errno.NOTSOCK)


def _readiness(world: World, kind: int, number: int) -> tuple[int, ...]:
    """Return error, kind, bytes and flags of an event."""
    try:
        found = world.descriptors.get(number)
        if kind == _FD_WRITE:
            found.writable()
            return (0, kind, _ROOM, 0)
        size = found.readable()
    except Failed as failed:
        return (failed.errno, kind, 0, 0)
    return (0, kind, size, 0 if size else _HANGUP)


def _put_sizes(world: World, memory: memoryview, count: int, size: int, strings: Sequence[bytes]) -> None:
    room(memory, size, 4)
    put(world, memory, count, abi.U32, len(strings))
    put(world, memory, size, abi.U32, sum(map(len, strings)) + len(strings))


def _put_strings(world: World, memory: memoryview, pointers: int, buffer: int, strings: Sequence[bytes]) -> None:
    text = b"".join(string + b"\0" for string in strings)
    room(memory, buffer, len(text))
    table = bytearray()
    for string in strings:
        table += abi.U32.pack(buffer)
        buffer += len(string) + 1
    put_bytes(world, memory, pointers, table)
    put_bytes(world, memory, buffer - len(text), text)
