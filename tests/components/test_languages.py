"""Components built from Python and from JavaScript run as jobs: the guests in workers/guests/components."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from wasmq import Err, Limits, Ok

from .conftest import GUESTS, built

if TYPE_CHECKING:
    from pathlib import Path

ANN = {"name": "Ann", "age": 30, "emails": ["ann@example.org", "a@example.org"]}


@pytest.fixture(scope="session")
def javascript(pytestconfig: pytest.Config) -> Path:
    """The component built from workers/guests/components/js: npm installs what builds it into the cache."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node build this guest, and they are not installed")
    source = GUESTS / "js"
    tools = pytestconfig.cache.mkdir("wasmq-npm")
    files = ["app.js", "example.wit", "build.mjs", "package.json"]
    for name in files:
        shutil.copy(source / name, tools)
    subprocess.run([npm, "install", "--no-audit", "--no-fund"], check=True, capture_output=True, cwd=tools)
    return built(pytestconfig, source, files, lambda out: [node, str(tools / "build.mjs"), str(out)])


async def greets_and_adds(scheduler: Any, module: Any) -> None:
    """See that the functions which both languages have do what they must."""
    greeting = (await scheduler.run(module, "greet", ANN)).value
    assert greeting == Ok("Hello Ann, 30, known as ann@example.org and a@example.org")
    refused = await scheduler.run(module, "greet", ANN | {"age": 200})
    assert (refused.status, refused.value) == ("succeeded", Err({"code": 422, "why": "Ann cannot be 200"}))
    assert (await scheduler.run(module, "total", [0.5, 1, 2.25])).value == 3.75


async def test_a_python_function_is_a_job(open_scheduler: Any, people: Path) -> None:
    """Records, results, output, sleep, files, exit, memory and fuel of a component built with componentize-py."""
    async with open_scheduler() as scheduler:
        module = await scheduler.load(people)
        assert (module.kind, module.missing, module.counted) == ("component", (), False)
        greet = next(str(each) for each in module.exports if each.name == "greet")
        assert greet == "greet: func(who: person) -> result<string, problem>"
        await greets_and_adds(scheduler, module)

        said = await scheduler.run(module, "say", "hey", env={"LOUD": "yes"}, argv=["x"])
        assert (said.value, said.stdout, said.stderr) == (None, b"hey\n", b"yes program x\n")
        assert (await scheduler.run(module, "nap", 0.05)).value >= 0.05
        late = await (await scheduler.submit(module, "nap", 60.0, limits=Limits(timeout=0.2)))
        assert late.status == "timed_out"
        assert (await scheduler.run(module, "look", "/", files={"a.txt": b""})).value == ["a.txt"]

        gone = await (await scheduler.submit(module, "look", "/nowhere"))
        assert (gone.status, gone.trap and gone.trap.code) == ("trapped", "unreachable")
        assert b"FileNotFoundError" in gone.stderr
        left = await (await scheduler.submit(module, "leave", 3))
        assert (left.status, left.exit_code) == ("exited", 1)
        large = await (await scheduler.submit(module, "fill", 64_000_000, limits=Limits(memory="32MiB")))
        assert large.status == "trapped"
        assert b"MemoryError" in large.stderr
        spent = await (await scheduler.submit(module, "fill", 64_000_000, limits=Limits(fuel=1_000_000)))
        assert (spent.status, spent.fuel_used) == ("out_of_fuel", 1_000_000)


async def test_python_costs_the_same_each_time(open_scheduler: Any, people: Path) -> None:
    """The same call on a fresh instance spends the same fuel, in slices of any length."""
    bills = set()
    for quantum in (10_000, 10**9):
        async with open_scheduler(quantum=quantum) as scheduler:
            module = await scheduler.load(people)
            for _ in range(3):
                bills.add((await scheduler.run(module, "greet", ANN, deterministic=True)).fuel_used)
    assert len(bills) == 1


@pytest.mark.slow
async def test_a_javascript_function_is_a_job(open_scheduler: Any, javascript: Path) -> None:
    """The same functions, built with componentize-js (45 s to build, 12 MB)."""
    async with open_scheduler() as scheduler:
        await greets_and_adds(scheduler, await scheduler.load(javascript))
