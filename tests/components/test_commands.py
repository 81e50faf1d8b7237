"""WASI 0.2 commands: the C programs of workers/guests/wasi with an adapter around them are ordinary jobs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import wasmq
from wasmq import Limits


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_a_command_has_arguments_environment_and_streams(
    open_scheduler: Any, components: Any, engine: str
) -> None:
    """What the job brings is what the program sees, and what it prints comes back. Its exit code can only say no."""
    async with open_scheduler(engine=engine) as scheduler:
        module = await scheduler.load(components / "hello.wasm")
        job = await scheduler.submit(module, argv=["a", "b c"], env={"NAME": "x"}, stdin=b"hello\n")
        ended = await job
        assert (ended.status, ended.exit_code, ended.value) == ("exited", 1, None)
        assert ended.stdout == b"argument 0: program\nargument 1: a\nargument 2: b c\nNAME=x\nHELLO\n"
        assert ended.stderr == b"done\n"
        assert ended.memory_peak == 4 * 65_536


async def test_a_command_works_with_files(open_scheduler: Any, components: Any) -> None:
    """Files come and go as for WASI preview 1; success is exit code 0."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(components / "files.wasm")
        ended = await scheduler.run(module, files={"in.txt": b"first second"}, collect=["out.txt"])
        assert (ended.exit_code, ended.files) == (0, {"out.txt": b"dnoces tsrif"})


async def test_sleepers_are_parked(open_scheduler: Any, components: Any) -> None:
    """Many sleep at once in one worker, others run meanwhile, and a sleeper can be cancelled or run out of time."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(components / "sleeper.wasm")
        values = await scheduler.load(components / "values.wat")
        jobs = [await scheduler.submit(module, stdin=b"x") for _ in range(40)]
        assert (await scheduler.run(values, "u8", (1, tuple(range(17))))).value[0] == 1
        ended = await asyncio.gather(*jobs)
        assert {each.status for each in ended} == {"succeeded"}
        assert sum([each.ran for each in ended]) > 40 * 0.05
        late = await scheduler.submit(module, limits=Limits(timeout=0.01))
        assert (await late).status == "timed_out"


async def test_the_same_each_time(open_scheduler: Any, components: Any) -> None:
    """A deterministic run prints the same and costs the same."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(components / "sleeper.wasm")
        runs = [await scheduler.run(module, stdin=b"x", deterministic=True) for _ in range(2)]
        assert runs[0].stdout == runs[1].stdout == b"slept 50 ms\ninput is ready\n"
        assert runs[0].fuel_used == runs[1].fuel_used


async def test_calls_of_the_host_cost_fuel(open_scheduler: Any, components: Any) -> None:
    """A command that is out of fuel in the middle of a call ends so."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(components / "hello.wasm")
        whole = await (await scheduler.submit(module))
        for fuel in (5_000, 20_000, whole.fuel_used // 2):
            ended = await (await scheduler.submit(module, limits=Limits(fuel=fuel)))
            assert (ended.status, ended.fuel_used) == ("out_of_fuel", fuel)


async def test_arguments_for_a_command_are_checked(open_scheduler: Any, components: Any) -> None:
    """A command takes no arguments of a call."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(components / "hello.wasm")
        with pytest.raises(wasmq.InvalidArguments):
            await scheduler.submit(module, "run", 1)
