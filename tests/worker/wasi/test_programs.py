"""Real programs, compiled from C against wasi-libc, run on our functions."""

from __future__ import annotations

import pytest

from .adapter import PROGRAMS, Clock, Spent, make_world, run


def test_a_program_gets_what_it_was_given_and_gives_its_status() -> None:
    """hello sees its arguments, its environment and its input, writes to both streams, and its status comes back."""
    world = make_world(argv=["hello", "wörld", b"\xff"], env={"NAME": "wasm"}, stdin=b"some\ninput")
    assert run(PROGRAMS / "hello.wasm", world) == 3
    expected = "argument 0: hello\nargument 1: wörld\nargument 2: ".encode() + b"\xff\nNAME=wasm\nSOME\nINPUT"
    assert bytes(world.stdout) == expected
    assert bytes(world.stderr) == b"done\n"
    assert not world.stdout_truncated


def test_output_is_written_in_blocks() -> None:
    """Standard output does not look like a terminal, so that the C library writes it in few calls."""
    world = make_world(stdin=b"x\n" * 1000)
    run(PROGRAMS / "hello.wasm", world)
    assert world.stdout.endswith(b"X\n" * 1000)
    # Each write names two buffers, 8 bytes each; one write a line would be a thousand of them.
    assert world.moved < 2 * len(world.stdout) + 1000


def test_a_program_works_with_files() -> None:
    """Files can be read, made, listed, renamed, linked and removed, and what is left can be collected."""
    world = make_world(files={"in.txt": b"first second"})
    assert run(PROGRAMS / "files.wasm", world) == 0, world.stderr
    assert world.stdout.decode().splitlines() == [
        ".: in.txt log.txt made same.txt short",
        "/made: draft.txt",
        "/: in.txt out.txt",
    ]
    names = ["out.txt", "/in.txt", "log.txt", "made/draft.txt", "../x", ""]
    assert world.collect(names) == {"out.txt": b"dnoces tsrif", "/in.txt": b"first second"}
    assert world.tree.size == 24
    assert world.tree.entries == 2


def test_a_program_is_told_that_the_quota_is_full() -> None:
    """A program that writes more than the quota holds gets an error that it can print, and ends by itself."""
    world = make_world(files={"in.txt": b"x" * 600}, quota=1000)
    assert run(PROGRAMS / "files.wasm", world) == 1
    assert b"No space left on device" in world.stderr
    assert world.tree.size <= 1000


def test_a_sleep_waits_outside_the_program() -> None:
    """A sleeping program is called again when its time has come, and not before; input is ready at once."""
    clock = Clock()
    world = make_world(clock, stdin=b"x")
    assert run(PROGRAMS / "sleeper.wasm", world, clock) == 0
    assert world.stdout == b"slept 50 ms\ninput is ready\n"
    assert clock.sleeps == [50_000_000]


def test_a_deterministic_sleep_is_over_at_once() -> None:
    """With `deterministic` nobody waits, and the program still sees the time pass."""
    world = make_world(deterministic=True)
    assert run(PROGRAMS / "sleeper.wasm", world) == 0
    assert world.stdout == b"slept 50 ms\ninput is ready\n"


def test_a_flood_is_kept_up_to_its_cap_and_ended_by_its_price() -> None:
    """What is over the cap is dropped, is still paid for, and does not fill the host's memory."""
    world = make_world(output_cap=10_000)
    with pytest.raises(Spent):
        run(PROGRAMS / "flood.wasm", world, most=10_000_000)
    assert world.stdout == b"x" * 10_000
    assert world.stdout_truncated
    assert not world.stderr_truncated


@pytest.mark.parametrize("name", ["hello", "files", "sleeper"])
def test_a_deterministic_run_is_the_same_again(name: str) -> None:
    """The same call prints the same bytes, leaves the same files and costs the same, whatever the clocks say."""

    def once(clock: Clock) -> tuple[bytes, int, list[tuple[int, int]]]:
        world = make_world(clock, deterministic=True, stdin=b"x", files={"in.txt": b"abc"})
        run(PROGRAMS / f"{name}.wasm", world)
        times = [(node.inode, node.modified) for _, node in world.tree.root.entries.values()]
        return bytes(world.stdout), world.moved, times

    assert once(Clock()) == once(Clock(monotonic=1, wall=2))
