"""Schedulers whose compiled components are kept from one run of the tests to the next, and guests that are built."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wasmq
from wasmq.config import Config, ModulesConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

GUESTS = Path(__file__).parents[2] / "workers" / "guests" / "components"
WORKER = Path(__file__).parents[2] / "workers" / "wasmq_worker"

OpenScheduler = "Callable[..., AbstractAsyncContextManager[wasmq.Scheduler]]"


@pytest.fixture
def components() -> Path:
    """The directory of the guests that are components."""
    return GUESTS


@pytest.fixture
def open_scheduler(pytestconfig: pytest.Config) -> OpenScheduler:  # type: ignore[valid-type]
    """Open a scheduler with one worker: a language's interpreter takes half a minute to compile, so it is kept."""
    # What a component is described as depends on the code that reads it.
    code = hashlib.sha256(b"".join([path.read_bytes() for path in sorted(WORKER.rglob("*.py"))])).hexdigest()[:16]
    kept = pytestconfig.cache.mkdir(f"wasmq-modules-{code}")
    config = Config(modules=ModulesConfig(directory=str(kept), compile_timeout=600.0))

    @asynccontextmanager
    async def open_(**options: object) -> AsyncIterator[wasmq.Scheduler]:
        async with wasmq.Scheduler(workers=1, config=config, **options) as scheduler:  # type: ignore[arg-type]
            yield scheduler

    return open_


@pytest.fixture(scope="session")
def people(pytestconfig: pytest.Config) -> Path:
    """The component built from workers/guests/components/python, made once for these sources."""
    source = GUESTS / "python"
    return built(pytestconfig, source, ["app.py", "example.wit"], componentize(source, "example.wit", "people"))


def componentize(source: Path, wit: str, world: str) -> Callable[[Path], list[str]]:
    """Return what makes the command line that builds `app` in a directory."""
    program = str(Path(sys.executable).with_name("componentize-py"))
    return lambda out: [
        program, "-d", str(source / wit), "-w", world, "componentize", "-p", str(source), "app", "-o", str(out),
    ]  # fmt: skip


def built(config: pytest.Config, source: Path, files: list[str], command: Callable[[Path], list[str]]) -> Path:
    """Return what a command builds of these files, from the cache if it has been built before."""
    digest = hashlib.sha256(b"".join([(source / name).read_bytes() for name in files])).hexdigest()[:16]
    out = config.cache.mkdir("wasmq-guests") / f"{source.name}-{digest}.wasm"
    if not out.exists():
        made = out.with_suffix(".new")
        subprocess.run(command(made), check=True, capture_output=True, cwd=source)
        made.rename(out)
    return out
