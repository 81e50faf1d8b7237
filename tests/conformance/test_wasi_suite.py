"""The WASI test-suite (WebAssembly/wasi-testsuite), run through the public API on both engines.

The suite is not part of this repository. `WASMQ_TEST_WASI_SUITE` names the directory of a checkout of its branch with
prebuilt programs (`prod/testsuite-base`), or of any directory in its layout: programs (`*.wasm`), each with an optional
JSON file of the same name that says what it is given (`args`, `env`, `dirs`, `root`) and what must come of it
(`exit_code`, `stdout`, `stderr`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import wasmq

VARIABLE = "WASMQ_TEST_WASI_SUITE"
CORE_MODULE = b"\0asm\1\0\0\0"

pytestmark = pytest.mark.slow


def programs() -> list[Any]:
    """Return one parameter for each core module of the suite, or one that says why there are none."""
    directory = os.environ.get(VARIABLE)
    if directory is None:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{VARIABLE} names no directory"))]
    root = Path(directory)
    found = [path for path in sorted(root.rglob("*.wasm")) if path.read_bytes()[:8] == CORE_MODULE]
    # Threads are a proposal of their own, which wasmq refuses.
    found = [path for path in found if "wasi-threads" not in path.parts]
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no core modules below {root}"))]
    return [pytest.param(path, id=str(path.relative_to(root).with_suffix(""))) for path in found]


def given(program: Path, said: dict[str, Any]) -> dict[str, Any]:
    """Return what `submit` takes for what the suite says of a program.

    `dirs` are directories beside it, preopened under their names; `root` is one that is the guest's whole tree.
    """
    files: dict[str, bytes] = {}
    dirs: dict[str, str] = {}
    trees = [(name, f"{name}/") for name in said.get("dirs", ())]
    if "root" in said:
        trees.append((said["root"], ""))
    for name, prefix in trees:
        for path in sorted((program.parent / name).rglob("*")):
            inside = prefix + str(path.relative_to(program.parent / name))
            if path.is_file():
                files[inside] = path.read_bytes()
            elif not any(path.iterdir()):
                dirs[inside] = "rw"
    dirs |= dict.fromkeys(said.get("dirs", ()), "rw")
    return {
        "argv": said.get("args", []),
        "env": said.get("env", {}),
        "files": files,
        "dirs": dirs,
        "name": program.name,
    }


@pytest.mark.parametrize("engine", ["native", "interpreter"])
@pytest.mark.parametrize("program", programs())
async def test_a_program_of_the_suite(
    make_scheduler: Callable[..., wasmq.Scheduler], program: Path, engine: str
) -> None:
    """It ends with the exit code that the suite wants, having printed what the suite wants."""
    notes = program.with_suffix(".json")
    said = json.loads(notes.read_text()) if notes.exists() else {}
    async with make_scheduler(engine=engine) as scheduler:
        module = await scheduler.load(program)
        outcome = await (await scheduler.submit(module, **given(program, said)))
    assert outcome.exit_code == said.get("exit_code", 0), (outcome.error, outcome.stdout, outcome.stderr)
    for stream in ("stdout", "stderr"):
        if stream in said:
            assert getattr(outcome, stream) == said[stream].encode()
