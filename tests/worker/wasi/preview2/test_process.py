"""Arguments, environment, the end, clocks, waiting, random numbers, and the network that there is not."""

from __future__ import annotations

import pytest

from wasmq_worker.wasi import Exit, Sleep, Violated
from wasmq_worker.wasi.environment import EPOCH, START, TICK
from wasmq_worker.wasi.preview2 import INTERFACES, Case, Err, Ok

from ..adapter import Clock, make_world
from .component import Component, refused

SECOND = 10**9


def after(component: Component, duration: int) -> int:
    pollable: int = component.call("clocks/monotonic-clock", "subscribe-duration", duration)
    return pollable


def at(component: Component, instant: int) -> int:
    pollable: int = component.call("clocks/monotonic-clock", "subscribe-instant", instant)
    return pollable


def poll(component: Component, *pollables: int) -> list[int]:
    found: list[int] = component.call("io/poll", "poll", list(pollables))
    return found


def test_what_a_program_is_given() -> None:
    """Arguments and variables in order; what is not UTF-8 is replaced; the directory is that of the files."""
    component = Component(argv=["one", "zwö", b"\xfe"], env={"A": "1", "B": "", "C": "x=y"})
    assert component.call("cli/environment", "get-arguments") == ["one", "zwö", "\ufffd"]
    assert component.call("cli/environment", "get-environment") == [("A", "1"), ("B", ""), ("C", "x=y")]
    assert component.call("cli/environment", "initial-cwd") == "/"
    before = component.world.moved
    component.call("cli/environment", "get-arguments")
    assert component.world.moved - before == 3 * 8 + 3 + 4 + 3


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_nothing_is_a_terminal(component: Component, stream: str) -> None:
    """So nobody has one to drop."""
    assert component.call(f"cli/terminal-{stream}", f"get-terminal-{stream}") is None
    for kind in ("terminal-input", "terminal-output"):
        with pytest.raises(Violated, match="Nothing"):
            component.drop(f"cli/{kind}", kind, component.root)


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("exit", Ok(), 0), ("exit", Err(), 1), ("exit-with-code", 0, 0), ("exit-with-code", 255, 255)],
)
def test_an_exit_ends_the_guest(component: Component, name: str, status: object, code: int) -> None:
    """A result is success or 1; a code is itself."""
    with pytest.raises(Exit) as caught:
        component.call("cli/exit", name, status)
    assert caught.value.code == code


def test_the_clocks() -> None:
    """The wall clock is the real one; the other starts with the job, so that it says nothing of this machine."""
    clock = Clock()
    component = Component(make_world(clock))
    assert component.call("clocks/wall-clock", "now") == {"seconds": clock.wall // SECOND, "nanoseconds": 0}
    assert component.call("clocks/monotonic-clock", "now") == START
    clock.pass_until(clock.monotonic + SECOND + 5)
    assert component.call("clocks/wall-clock", "now") == {"seconds": clock.wall // SECOND, "nanoseconds": 5}
    assert component.call("clocks/monotonic-clock", "now") == START + SECOND + 5
    assert component.call("clocks/monotonic-clock", "resolution") == 1
    assert component.call("clocks/wall-clock", "resolution") == {"seconds": 0, "nanoseconds": 1}


def test_a_deterministic_clock_moves_by_itself() -> None:
    """Each reading is one tick later; there is one time for both clocks."""
    component = Component(deterministic=True)
    assert component.call("clocks/wall-clock", "now")["seconds"] == EPOCH // SECOND
    readings = [component.call("clocks/monotonic-clock", "now") for _ in range(3)]
    assert readings[1] - readings[0] == readings[2] - readings[1] == TICK
    assert component.call("clocks/wall-clock", "resolution") == {"seconds": 0, "nanoseconds": TICK}


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("blocking", [True, False])
def test_an_instant_is_waited_for_outside(relative: bool, blocking: bool) -> None:
    """The call raises when to come back, and once more if it is called too early."""
    clock = Clock()
    component = Component(make_world(clock))
    pollable = after(component, SECOND) if relative else at(component, START + SECOND)
    wanted = clock.monotonic + SECOND
    moved = component.world.moved

    def wait() -> None:
        if blocking:
            component.call("io/poll", "[method]pollable.block", pollable)
        else:
            assert poll(component, pollable) == [0]

    for passed in (0, SECOND // 2, SECOND // 4):
        clock.pass_until(clock.monotonic + passed)
        assert not component.call("io/poll", "[method]pollable.ready", pollable)
        with pytest.raises(Sleep) as caught:
            wait()
        assert caught.value.until == wanted
    assert component.world.moved == moved
    clock.pass_until(wanted)
    wait()
    wait()
    assert component.call("io/poll", "[method]pollable.ready", pollable)


def test_the_first_instant_counts() -> None:
    """Of several the earliest is waited for, and what is due is reported, the same one as often as it is given."""
    clock = Clock()
    component = Component(make_world(clock))
    late, early = after(component, 3 * SECOND), after(component, SECOND)
    with pytest.raises(Sleep) as caught:
        poll(component, late, early, late, early)
    assert caught.value.until == clock.monotonic + SECOND
    clock.pass_until(caught.value.until)
    assert poll(component, late, early, late, early) == [1, 3]
    clock.pass_until(clock.monotonic + 2 * SECOND)
    assert poll(component, late, early) == [0, 1]
    before = component.world.moved
    poll(component, late, early)
    assert component.world.moved - before == 2 * 8 + 2 * 8


def test_what_is_ready_does_not_wait_for_the_rest() -> None:
    """A stream beside a clock is reported at once, the clock only if it is due."""
    component = Component()
    stream = component.output("subscribe", component.call("cli/stdout", "get-stdout"))
    assert poll(component, after(component, SECOND), stream, at(component, 0)) == [1, 2]
    component.call("io/poll", "[method]pollable.block", stream)


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_wait_without_end_is_said_to_be_one(deterministic: bool) -> None:
    """An instant beyond what a clock can show never comes."""
    component = Component(deterministic=deterministic)
    for pollable in (after(component, (1 << 64) - 1), at(component, (1 << 64) - 1)):
        with pytest.raises(Sleep) as caught:
            poll(component, pollable)
        assert caught.value.until is None
        with pytest.raises(Sleep):
            component.call("io/poll", "[method]pollable.block", pollable)


def test_a_deterministic_wait_is_over_at_once() -> None:
    """The clock jumps to where the wait ends."""
    component = Component(deterministic=True)
    before = component.call("clocks/monotonic-clock", "now")
    assert poll(component, after(component, 7200 * SECOND), after(component, 3600 * SECOND)) == [1]
    passed = component.call("clocks/monotonic-clock", "now") - before
    assert 3600 * SECOND <= passed < 3601 * SECOND
    component.call("io/poll", "[method]pollable.block", after(component, SECOND))
    assert component.call("clocks/monotonic-clock", "now") - before >= passed + SECOND


def test_a_poll_for_nothing_is_a_violation(component: Component) -> None:
    """So is one for something that is no pollable, or was dropped."""
    with pytest.raises(Violated, match="nothing"):
        poll(component)
    pollable = at(component, 0)
    with pytest.raises(Violated, match="Pollable"):
        poll(component, pollable, component.root)
    component.drop("io/poll", "pollable", pollable)
    with pytest.raises(Violated, match="Pollable"):
        poll(component, pollable)


@pytest.mark.parametrize("interface", ["random/random", "random/insecure"])
def test_random_bytes(interface: str) -> None:
    """They differ, unless they are to be the same; there is a limit to how many come at once."""
    name = "insecure-random" if interface.endswith("insecure") else "random"

    def draw(component: Component, size: int) -> bytes:
        data: bytes = component.call(interface, f"get-{name}-bytes", size)
        return data

    one, two = Component(deterministic=True), Component(deterministic=True)
    drawn = [draw(one, 100), draw(one, 100)]
    assert drawn == [draw(two, 100), draw(two, 100)]
    assert drawn[0] != drawn[1]
    assert draw(Component(), 32) != draw(Component(), 32)
    assert draw(one, 0) == b""
    before = one.world.moved
    assert len(draw(one, 1 << 20)) == 1 << 20
    assert one.world.moved - before == 1 << 20
    with pytest.raises(Violated, match="random bytes"):
        draw(one, (1 << 20) + 1)
    numbers = {one.call(interface, f"get-{name}-u64") for _ in range(4)}
    assert len(numbers) == 4


def test_a_seed_is_another_one_each_time() -> None:
    """Unless chance itself is to be the same."""
    seeds = [Component(deterministic=same).call("random/insecure-seed", "insecure-seed") for same in (0, 0, 1, 1)]
    assert len(set(seeds)) == 3
    assert seeds[2] == seeds[3]


def test_there_is_no_network(component: Component) -> None:
    """Sockets are not supported and names not looked up; nothing traps that a guest can get at."""
    network = component.call("sockets/instance-network", "instance-network")
    assert refused(lambda: component.call("sockets/ip-name-lookup", "resolve-addresses", network, "localhost")) == (
        "access-denied"
    )
    for kind in ("tcp", "udp"):
        for family in ("ipv4", "ipv6"):
            name = f"create-{kind}-socket"
            call = (f"sockets/{kind}-create-socket", name, family)
            assert refused(lambda call=call: component.call(*call)) == "not-supported"
    component.drop("sockets/network", "network", network)
    with pytest.raises(Violated, match="Network"):
        component.call("sockets/ip-name-lookup", "resolve-addresses", network, "localhost")


def test_no_stream_fails_for_the_network() -> None:
    """An error of a file is none of the network's."""
    component = Component(quota=0)
    stream = component.file("append-via-stream", component.open("file", "c"))
    case = refused(lambda: component.output("write", stream, b"x"))
    assert isinstance(case, Case)
    assert component.call("sockets/network", "network-error-code", case.value) is None
    assert component.failure(case) == "insufficient-space"


def test_methods_of_sockets_are_for_nobody(component: Component) -> None:
    """No number stands for a socket, so each of its methods is a violation."""
    absent = ("tcp-socket", "udp-socket", "datagram-stream", "resolve-address-stream")
    called = 0
    for interface in ("tcp", "udp", "ip-name-lookup"):
        for name, function in INTERFACES[f"wasi:sockets/{interface}"].functions.items():
            if any(resource in name for resource in absent):
                called += 1
                with pytest.raises(Violated, match="Nothing"):
                    function.call(component.state, component.root, *[None] * (len(function.params) - 1))
    assert called == 48
