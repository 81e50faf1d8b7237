"""Daemons for tests: the real application over a real scheduler, on a free port, in a thread of its own."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

import wasmq
from wasmq.server import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wasmq.config import Config


class Daemon:
    """Where a daemon is, and how to reach its scheduler from its own loop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.problem: BaseException | None = None

    def _run(self) -> None:
        try:
            anyio.run(self._serve)
        except BaseException as error:
            self.problem = error
        finally:
            self._up.set()

    async def _serve(self) -> None:
        self._stopping = anyio.Event()
        self._token = anyio.lowlevel.current_token()
        async with wasmq.Scheduler(config=self._config) as self.scheduler:
            await serve(self.scheduler, ready=self._ready, stopping=self._stopping)

    def _ready(self, host: str, port: int) -> None:
        self.port = port
        self.url = f"http://{host}:{port}"
        self._up.set()

    def start(self) -> None:
        self._thread.start()
        self._up.wait()
        if self.problem is not None:
            raise self.problem

    def stop(self) -> None:
        if self._thread.is_alive():
            anyio.from_thread.run_sync(self._stopping.set, token=self._token)
        self._thread.join()
        if self.problem is not None:
            raise self.problem


@contextmanager
def daemon(config: Config) -> Iterator[Daemon]:
    """Run a daemon while the block runs; `config` should say port 0."""
    running = Daemon(config)
    running.start()
    try:
        yield running
    finally:
        running.stop()
