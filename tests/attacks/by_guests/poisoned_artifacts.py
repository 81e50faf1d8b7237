"""Garbage in place of compiled modules, put there between two lives of a scheduler."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from arena import run

import wasmq
from wasmq.config import Config, ModulesConfig

if TYPE_CHECKING:
    from pathlib import Path

MODULE = '(module (func (export "f") (result i32) (i32.const 42)))'


async def attack(scheduler: wasmq.Scheduler) -> None:
    """What the seal does not fit is compiled again, and never mapped: the answer is the same."""
    del scheduler
    with TemporaryDirectory() as directory:
        config = Config(modules=ModulesConfig(directory=directory))
        artifact = await _life(config)
        good = artifact.read_bytes()
        for bad in (b"", b"\x7fELF" * 1000, good[: len(good) // 2], good[:-1] + bytes([good[-1] ^ 1])):
            artifact.write_bytes(bad)
            assert await _life(config) == artifact
            assert artifact.read_bytes() != bad


async def _life(config: Config) -> Path:
    """Run the module once in a scheduler of its own, and return where its artifact is."""
    async with wasmq.Scheduler(workers=1, config=config) as scheduler:
        outcome = await run(scheduler, MODULE, "f")
        assert outcome.value == 42
        return (await scheduler.load(MODULE)).artifact
