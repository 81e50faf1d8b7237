"""Arguments, environment, clocks, random bytes, waiting, the end, and what there is not."""

from __future__ import annotations

import struct

import pytest

from wasmq_worker.wasi import FUNCTIONS, Exit, Sleep
from wasmq_worker.wasi.environment import EPOCH, START, TICK
from wasmq_worker.wasi.errno import Errno

from .adapter import Clock, make_world
from .guest import SIZE, Guest
from .test_paths import refused

SECOND = 10**9
REALTIME, MONOTONIC, PROCESS, THREAD = range(4)


def time(guest: Guest, clock: int) -> int:
    guest.call("clock_time_get", clock, 1, 0)
    return int(guest.result("<Q")[0])


def on_clock(data: int, timeout: int, *, clock: int = MONOTONIC, absolute: bool = False) -> bytes:
    return struct.pack("<QB7xI4xQQH6x", data, 0, clock, timeout, 0, absolute)


def on_descriptor(data: int, fd: int, *, write: bool = False) -> bytes:
    return struct.pack("<QB7xI28x", data, 2 if write else 1, fd)


def poll(guest: Guest, *subscriptions: bytes) -> list[tuple[int, ...]]:
    """Return data, error, kind, bytes and flags of each event."""
    joined = b"".join(subscriptions)
    guest.memory[1024 : 1024 + len(joined)] = joined
    guest.call("poll_oneoff", 1024, 0x8000, len(subscriptions), 0)
    (count,) = guest.result("<I")
    return [struct.unpack_from("<QHB5xQH6x", guest.memory, 0x8000 + 32 * index) for index in range(count)]


@pytest.mark.parametrize(
    ("name", "settings", "strings"),
    [
        ("args", {"argv": ["one", "zwö", b"\xfe"]}, [b"one", "zwö".encode(), b"\xfe"]),
        ("args", {"argv": []}, []),
        ("environ", {"env": {"A": "1", "B": "", "C": "x=y"}}, [b"A=1", b"B=", b"C=x=y"]),
    ],
)
def test_strings_are_stored_one_after_another(name: str, settings: dict[str, object], strings: list[bytes]) -> None:
    """The sizes come first; then each string is where its pointer says, with a NUL behind it."""
    guest = Guest(**settings)
    guest.call(f"{name}_sizes_get", 0, 4)
    joined = b"".join(string + b"\0" for string in strings)
    assert guest.result("<II") == (len(strings), len(joined))
    guest.call(f"{name}_get", 0, 100)
    assert bytes(guest.memory[100 : 100 + len(joined)]) == joined
    for index, string in enumerate(strings):
        (pointer,) = struct.unpack_from("<I", guest.memory, 4 * index)
        assert bytes(guest.memory[pointer : pointer + len(string) + 1]) == string + b"\0"


def test_the_clocks() -> None:
    """The wall clock is the real one; the others start with the job, so that they say nothing of this machine."""
    clock = Clock()
    guest = Guest(make_world(clock))
    assert time(guest, REALTIME) == clock.wall
    assert time(guest, MONOTONIC) == START
    assert time(guest, PROCESS) == time(guest, THREAD) == 0
    clock.pass_until(clock.monotonic + SECOND)
    assert time(guest, REALTIME) == clock.wall
    assert time(guest, MONOTONIC) == START + SECOND
    assert time(guest, PROCESS) == SECOND
    assert refused(lambda: time(guest, 4)) == Errno.INVAL
    guest.call("clock_res_get", MONOTONIC, 0)
    assert guest.result("<Q") == (1,)
    assert refused(lambda: guest.call("clock_res_get", 4, 0)) == Errno.INVAL


def test_a_deterministic_clock_moves_by_itself() -> None:
    """Each reading is one tick later; there is one time for all clocks."""
    first, second = Guest(deterministic=True), Guest(deterministic=True)
    readings = [time(first, clock) for clock in (REALTIME, MONOTONIC, REALTIME, PROCESS)]
    assert readings == [time(second, clock) for clock in (REALTIME, MONOTONIC, REALTIME, PROCESS)]
    assert readings[1] - readings[0] == readings[2] - readings[1] == TICK
    assert EPOCH <= readings[0] < EPOCH + SECOND
    first.call("clock_res_get", REALTIME, 0)
    assert first.result("<Q") == (TICK,)


def test_random_bytes() -> None:
    """They differ, unless they are to be the same; there is a limit to how many come at once."""

    def draw(guest: Guest, size: int) -> bytes:
        guest.call("random_get", 0, size)
        return bytes(guest.memory[:size])

    one, two = Guest(deterministic=True), Guest(deterministic=True)
    drawn = [draw(one, 1024), draw(one, 1024)]
    assert drawn == [draw(two, 1024), draw(two, 1024)]
    assert drawn[0] != drawn[1]
    assert draw(Guest(), 32) != draw(Guest(), 32)
    assert draw(one, 0) == b""
    large = Guest()
    large.memory = memoryview(bytearray(1 << 21))
    assert refused(lambda: large.call("random_get", 0, (1 << 20) + 1)) == Errno.IO
    large.call("random_get", 0, 1 << 20)


@pytest.mark.parametrize("code", [0, 7, 2**32 - 1])
def test_an_exit_ends_the_guest(code: int) -> None:
    """proc_exit raises, with the status as it came; alone of all functions it has no result."""
    with pytest.raises(Exit) as caught:
        Guest().raw("proc_exit", code)
    assert caught.value.code == code
    assert [name for name, (_, results, _) in FUNCTIONS.items() if results != ("i32",)] == ["proc_exit"]


def test_what_there_is_not() -> None:
    """There are no signals and no sockets; yielding does nothing."""
    guest = Guest()
    guest.call("sched_yield")
    assert refused(lambda: guest.call("proc_raise", 9)) == Errno.NOSYS
    for name, rest in (("sock_accept", 2), ("sock_recv", 5), ("sock_send", 4), ("sock_shutdown", 1)):
        assert refused(lambda name=name, rest=rest: guest.call(name, 0, *[0] * rest)) == Errno.NOTSOCK
        assert refused(lambda name=name, rest=rest: guest.call(name, 9, *[0] * rest)) == Errno.BADF


@pytest.mark.parametrize(
    "subscription",
    [
        on_clock(1, SECOND),
        on_clock(1, SECOND, clock=REALTIME),
        on_clock(1, START + SECOND, absolute=True),
        on_clock(1, Clock().wall + SECOND, clock=REALTIME, absolute=True),
    ],
    ids=["relative", "relative-wall", "absolute", "absolute-wall"],
)
def test_a_timeout_is_waited_for_outside(subscription: bytes) -> None:
    """Whatever the clock, the call raises when to come back, and once more if it is called too early."""
    clock = Clock()
    guest = Guest(make_world(clock))
    wanted = clock.monotonic + SECOND
    for passed in (0, SECOND // 2, SECOND // 4):
        clock.pass_until(clock.monotonic + passed)
        with pytest.raises(Sleep) as caught:
            poll(guest, subscription)
        assert caught.value.until == wanted
    clock.pass_until(wanted)
    assert poll(guest, subscription) == [(1, 0, 0, 0, 0)]


def test_the_next_wait_is_a_wait_of_its_own() -> None:
    """A timeout counts from its own first call, not from that of the wait before with the same arguments."""
    clock = Clock()
    guest = Guest(make_world(clock))
    for _ in range(2):
        with pytest.raises(Sleep) as caught:
            poll(guest, on_clock(1, SECOND))
        assert caught.value.until == clock.monotonic + SECOND
        clock.pass_until(clock.monotonic + SECOND)
        assert poll(guest, on_clock(1, SECOND)) == [(1, 0, 0, 0, 0)]


def test_the_first_timeout_counts() -> None:
    """Of several clocks the earliest is waited for, and only what is due is reported."""
    clock = Clock()
    guest = Guest(make_world(clock))
    subscriptions = [on_clock(1, 3 * SECOND), on_clock(2, SECOND), on_clock(3, SECOND, clock=REALTIME)]
    with pytest.raises(Sleep) as caught:
        poll(guest, *subscriptions)
    assert caught.value.until is not None
    clock.pass_until(caught.value.until)
    assert poll(guest, *subscriptions) == [(2, 0, 0, 0, 0), (3, 0, 0, 0, 0)]


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_wait_without_end_is_said_to_be_one(deterministic: bool) -> None:
    """A timeout beyond what a clock can show never comes."""
    guest = Guest(deterministic=deterministic)
    with pytest.raises(Sleep) as caught:
        poll(guest, on_clock(1, 2**64 - 1))
    assert caught.value.until is None


def test_a_deterministic_wait_is_over_at_once() -> None:
    """The clock jumps to where the wait ends, for each kind of timeout."""
    guest = Guest(deterministic=True)
    before = time(guest, MONOTONIC)
    assert poll(guest, on_clock(1, 3600 * SECOND), on_clock(2, 7200 * SECOND)) == [(1, 0, 0, 0, 0)]
    now = time(guest, REALTIME)
    assert 3600 * SECOND <= now - before < 3601 * SECOND
    assert poll(guest, on_clock(1, now + SECOND, clock=REALTIME, absolute=True)) == [(1, 0, 0, 0, 0)]
    assert SECOND <= time(guest, MONOTONIC) - now < 2 * SECOND


def test_files_and_streams_are_always_ready() -> None:
    """They are reported at once, with what there is to read, and a clock beside them only if it is due."""
    guest = Guest(stdin=b"abc", files={"file": b"12345"})
    fd, closed = guest.open("file"), 99
    guest.read(fd, 2)
    events = poll(
        guest,
        on_clock(1, SECOND),
        on_descriptor(2, 0),
        on_descriptor(3, 1, write=True),
        on_descriptor(4, fd),
        on_descriptor(5, fd, write=True),
        on_clock(6, 0),
    )
    assert [(data, error, kind) for data, error, kind, _, _ in events] == [
        (2, 0, 1),
        (3, 0, 2),
        (4, 0, 1),
        (5, 0, 2),
        (6, 0, 0),
    ]
    assert [events[index][3] for index in (0, 2)] == [3, 3]
    guest.read(0)
    assert poll(guest, on_descriptor(1, 0)) == [(1, 0, 1, 0, 1)]
    for subscription in (on_descriptor(1, closed), on_descriptor(1, 1), on_descriptor(1, 0, write=True)):
        ((_, error, _, _, _),) = poll(guest, subscription)
        assert error == Errno.BADF
    ((_, error, _, _, _),) = poll(guest, on_clock(1, 0, clock=PROCESS))
    assert error == Errno.NOTSUP


def test_a_poll_for_nothing_is_refused() -> None:
    """No subscription, too many, or one of an unknown kind."""
    guest = Guest()
    assert refused(lambda: poll(guest)) == Errno.INVAL
    assert refused(lambda: guest.call("poll_oneoff", 0, 0, 1025, 0)) == Errno.INVAL
    assert refused(lambda: poll(guest, struct.pack("<QB39x", 1, 3))) == Errno.INVAL
    assert refused(lambda: guest.call("poll_oneoff", SIZE - 40, 0, 1, 0)) == Errno.FAULT
