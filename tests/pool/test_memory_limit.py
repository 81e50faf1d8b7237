"""The kernel's own limit on what a worker takes: a cgroup of version 2, where this process has one delegated to it."""

from __future__ import annotations

import msgspec
import pytest
from watching import running, workers

import wasmq
from wasmq.config import SandboxConfig, Size
from wasmq.pool.cgroups import NoCgroup, find

MIB = 2**20
LIMIT = 160 * MIB
"""More than a worker takes by itself, and less than what the guest below does."""
HUNGRY = """(module (memory 1)
  (func (export "eat") (param $pages i32) (result i32)
    (drop (memory.grow (local.get $pages)))
    (memory.fill (i32.const 0) (i32.const 1) (i32.mul (local.get $pages) (i32.const 65536)))
    (memory.size)))"""
PAGES = 8_000  # of 64 KiB: 500 MiB


@pytest.fixture
def limited(config):
    """A configuration whose workers may take less than their jobs may; skips where no limit can be set."""
    try:
        find(SandboxConfig(), 1)
    except NoCgroup as error:
        pytest.skip(f"no worker can have a cgroup here: {error}")
    return msgspec.structs.replace(config, sandbox=SandboxConfig(memory=Size(LIMIT)))


async def test_a_worker_that_takes_too_much_is_killed_by_the_kernel(make_scheduler, limited, guests):
    """It alone dies: the job that took it is lost and says of what, the victim's succeed, and the scheduler goes on."""
    async with running(make_scheduler, config=limited, memory="1GiB", max_attempts=2) as scheduler:
        walls = {wall.name: wall for wall in scheduler.sandbox}
        assert (walls["cgroup"].state, str(LIMIT) in walls["cgroup"].detail) == ("up", True)
        mul, hungry = await scheduler.load(guests / "mul.wat"), await scheduler.load(HUNGRY)
        before = workers()
        assert (await scheduler.run(hungry, "eat", 100, tenant="attacker")).value == 101
        limits = wasmq.Limits(memory="600MiB", fuel=10**10, timeout=600.0)
        eating = await scheduler.submit(hungry, "eat", PAGES, limits=limits, tenant="attacker")
        answers = []
        while eating.outcome is None:
            outcome = await scheduler.run(mul, "mul", 6, 7, tenant="victim")
            answers.append((outcome.status, outcome.value, outcome.fuel_used))
        assert set(answers) == {("succeeded", 42, 4)}
        outcome = await eating
        assert (outcome.status, outcome.attempts) == ("lost", 2)
        assert f"{LIMIT // MIB} MiB" in outcome.error
        assert "sandbox.memory" in outcome.error
        assert (await scheduler.run(mul, "mul", 2, 4, tenant="victim")).value == 8
        assert not set(before) & set(workers())


async def test_nothing_is_left_of_a_group(make_scheduler, limited, guests):
    """When its worker has ended, the group is removed."""
    parent = find(SandboxConfig(), 1).parent
    before = set(parent.iterdir())
    async with running(make_scheduler, config=limited) as scheduler:
        assert (await scheduler.run(await scheduler.load(guests / "mul.wat"), "mul", 6, 7)).value == 42
        assert len(set(parent.iterdir()) - before) == 1
    assert set(parent.iterdir()) == before
