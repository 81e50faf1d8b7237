"""All checks of one configuration, each on what is there now: nothing is changed, and no daemon is disturbed."""

from __future__ import annotations

import os
import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from wasmq.clock import SystemClock
from wasmq.confinement import lacking
from wasmq.doctor import advisories, machine, places, store
from wasmq.doctor.finding import Finding, failed, ok, warning
from wasmq.engines import engine_version
from wasmq.errors import WasmqError
from wasmq.pool.crew import Crew
from wasmq.shelf import default_directory
from wasmq.store.urls import file_of, modules_beside

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from wasmq.config import Config
    from wasmq.pool.pool import Sending
    from wasmq_worker.protocol import Upward, Wall


async def examine(config: Config, url: str, file: Path | None = None) -> list[Finding]:
    """Return every finding about a configuration, the one in `file`, and the machine; `url` is that of the store.

    It takes about a second: a worker is started to see what walls stand around it.
    """
    listed = advisories.known()
    directory = _modules(config, url)
    paths = {"modules": _existing(directory)}
    if (path := file_of(url)) is not None:
        paths["store"] = _existing(path.absolute().parent)
    facts = await anyio.to_thread.run_sync(machine.facts, paths)
    today = date.fromtimestamp(facts.now)
    findings = advisories.judge(engine_version(), listed, today)
    findings += await walls(config)
    findings += machine.judge(facts, config, listed.dated)
    if file is not None:
        findings.append(places.configuration(file, config.scheduler.store))
    findings += places.modules(directory)
    if path is not None:
        findings.append(places.store(path))
    findings.append(await store.examine(url))
    return findings


async def walls(config: Config) -> list[Finding]:
    """Start a worker as a scheduler would, and return how the walls around it stand."""
    try:
        with tempfile.TemporaryDirectory(prefix="wasmq-doctor-") as made:
            os.chmod(made, 0o711)  # noqa: PTH101 the worker may be another user; it takes microseconds
            async with anyio.create_task_group() as tasks:
                crew = Crew(config, 1, SystemClock(), _Nobody(), tasks)
                try:
                    await crew.start(Path(made))
                finally:
                    with anyio.CancelScope(shield=True):
                        crew.stop()
                        await crew.wait()
    except (WasmqError, BaseExceptionGroup) as error:
        return [failed("sandbox", _line(error), "see Sandbox in docs/operations.md")]
    return judge(crew.walls)


def judge(found: Iterable[Wall]) -> list[Finding]:
    """Judge the walls: one that is down is a finding each, and what is optional a warning at most."""
    listed = list(found)
    missing = lacking(listed)
    optional = [wall for wall in listed if wall.state == "down" and wall not in missing]
    findings = [
        failed("sandbox", f"{wall.name}: {wall.detail}", "see Sandbox in docs/operations.md") for wall in missing
    ]
    up = [wall.name for wall in listed if wall.state == "up"]
    if not missing:
        findings.append(ok("sandbox", f"every wall that can stand here does: {', '.join(up)}"))
    findings += [warning(wall.name, wall.detail, "optional: see Sandbox in docs/operations.md") for wall in optional]
    return findings


class _Nobody:
    """Who is told what the worker does: it does nothing."""

    def joined(self, worker: int, *, solo: bool, pace: float) -> Iterable[Sending]:
        return ()

    def said(self, worker: int, frame: Upward) -> Iterable[Sending]:
        return ()

    def left(self, worker: int, reason: str, words: str, begun: Container[int]) -> None:
        return


def _line(error: BaseException) -> str:
    """Return what is wrong in one line. Raises what is none of our errors: a bug, or the end of this command."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, WasmqError):
        raise error
    return str(error)


def _modules(config: Config, url: str) -> Path:
    configured = config.modules.directory or modules_beside(url)
    return Path(configured).absolute() if configured is not None else default_directory()


def _existing(path: Path) -> Path:
    """Return a directory, or what is there of the way to it."""
    while not path.exists():
        path = path.parent
    return path
