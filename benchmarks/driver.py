"""A worker process without a scheduler: frames go down, and whoever sent them sleeps until all outcomes are back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import anyio

from benchmarks import common
from wasmq.confinement import Confinement
from wasmq.metrics import Metrics
from wasmq.modules import Library, Module
from wasmq.pool.begun import Record
from wasmq.pool.process import PYTHON_FLAGS
from wasmq.shelf import Shelf
from wasmq_worker.protocol import (
    Assignment,
    Decoder,
    Map,
    Outcomes,
    Prices,
    Ready,
    Setup,
    Signature,
    Start,
    Upward,
    pack,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wasmq import Config

_NAP = 1e-3  # seconds
_CHUNK = 2**18
_NUMBER = 1  # what the worker knows the module as
_NO_PULSE = 3600.0  # seconds


class Worker:
    """One worker process, started as the scheduler starts it. `ready_after` is the seconds until it could take jobs.

    Its artifacts are in the directory of the modules that `config` names, which is `common.config()` by default.
    """

    def __init__(self, config: Config | None = None) -> None:
        config = config or common.config()
        settings = config.scheduler
        confinement = Confinement(config)
        artifacts = Shelf(config.modules, settings.engine, confinement.readers).open()
        start = time.perf_counter()
        self._socket, theirs = socket.socketpair()
        self._record = Record()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *PYTHON_FLAGS, "-m", "wasmq_worker", str(theirs.fileno())],
                stdin=self._record.descriptor,
                stdout=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        self._decoder: Decoder[Upward] = Decoder(Upward)
        self._send(
            pack(
                Setup(
                    settings.engine,
                    settings.quantum,
                    settings.instances,
                    _NO_PULSE,
                    Prices(1_000, 1),
                    sandbox=confinement.sandbox(1, artifacts),
                )
            )
        )
        frames = self._receive()
        self.ready_after = time.perf_counter() - start
        if not isinstance(frames[0], Ready):
            raise RuntimeError(f"the worker's first frame was {frames[0]}")

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._record.close()

    def map(self, module: Module) -> None:
        """Make the module known that `batch` is about."""
        signatures = tuple(Signature(place, type_.params, type_.results) for place, type_ in module.signatures)
        self._send(
            pack(
                Map(
                    _NUMBER,
                    str(module.artifact),
                    module.counted,
                    module.start,
                    module.memory,
                    module.exported_memory,
                    signatures,
                )
            )
        )

    def run(self, batch: bytes, count: int, times: int) -> float:
        """Send a batch of `count` jobs, sleep until each has succeeded, so many times; return the seconds of it all."""
        start = time.perf_counter()
        for _ in range(times):
            self._send(batch)
            missing = count
            while missing:
                # Woken for each frame it would take a share of the cores that the workers are measured on.
                time.sleep(_NAP)
                for frame in self._receive():
                    if not isinstance(frame, Outcomes):
                        raise RuntimeError(f"unexpected: {frame}")
                    for ended in frame.ended:
                        if ended.status != "succeeded":
                            raise RuntimeError(f"a job failed: {ended}")
                    missing -= len(frame.ended)
        return time.perf_counter() - start

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _receive(self) -> list[Upward]:
        while True:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise RuntimeError("the worker is gone; what it said is above")
            if frames := self._decoder.feed(data):
                return frames


def batch(module: Module, export: str, args: tuple[int, ...], count: int) -> bytes:
    """Return the frame that starts so many jobs with the default limits."""
    caps = common.config().limits
    fuel, memory, timeout, output = caps.fuel, int(caps.memory), caps.timeout, int(caps.output)
    place = module.places[export]
    jobs = [
        Assignment(ticket, _NUMBER, place, args, fuel, memory, timeout, output, 0, 1.0)
        for ticket in range(1, count + 1)
    ]
    return pack(Start(jobs))


def load(paths: Sequence[Path]) -> list[Module]:
    """Return modules, compiled by a library of their own."""

    async def _load() -> list[Module]:
        settings = common.config()
        async with anyio.create_task_group() as tasks:
            library = Library(settings.modules, settings.scheduler.engine, Metrics(), tasks)
            modules = [await library.load(path) for path in paths]
            await library.close()
        return modules

    return anyio.run(_load)
