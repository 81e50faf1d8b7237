"""The workers as they live: each is spawned, made ready, watched, and replaced when it dies."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread

from wasmq.confinement import Confinement
from wasmq.errors import SandboxUnavailable, WorkerUnavailable
from wasmq.pool.begun import Record
from wasmq.pool.cgroups import NoCgroup, find
from wasmq.pool.channel import Channel
from wasmq.pool.priority import stand_back
from wasmq.pool.process import PYTHON_FLAGS, spawn
from wasmq_worker.protocol import Prices, ProtocolError, Pulse, Ready, Setup, Wall

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from pathlib import Path

    from anyio.abc import TaskGroup

    from wasmq.clock import Clock
    from wasmq.config import Config
    from wasmq.pool.cgroups import Cgroups
    from wasmq.pool.pool import Sending
    from wasmq.pool.process import Child
    from wasmq_worker.protocol import Upward

PULSE = 1.0
"""Seconds between two signs of life of a worker."""
_READY_WITHIN = 30.0
_OTHERS_WITHIN = 1.0  # seconds after the first
_BACKOFF = 0.1  # seconds before the second start in a row, doubled each time
_BACKOFF_MAX = 10.0


class Overseer(Protocol):
    """Who is told what the workers do, and says what to send them."""

    def joined(self, worker: int, *, solo: bool, pace: float) -> Iterable[Sending]:
        """Take note that a worker can take jobs, and how much fuel it says that a core spends in a second."""
        ...

    def said(self, worker: int, frame: Upward) -> Iterable[Sending]:
        """Take note of a worker's frame. Raises `ProtocolError` when it makes no sense, which ends the worker."""
        ...

    def left(self, worker: int, reason: str, words: str, begun: Container[int]) -> None:
        """Take note that a worker is gone: "exited", "killed", "stuck", "protocol", "unready" or "stopped".

        `begun` has the tickets that had begun, of those at least that the worker has not told of.
        """
        ...


class _Worker:
    def __init__(self, number: int, *, solo: bool) -> None:
        self.number = number
        self.solo = solo
        self.child: Child | None = None
        self.channel: Channel | None = None
        self.record: Record | None = None
        self.ready = anyio.Event()
        self.heard = 0.0
        self.fresh = 0
        self.running = 0
        self.suspended = 0
        self.reason: str | None = None

    def end(self, reason: str) -> None:
        """Kill the process; the first reason counts."""
        self.reason = self.reason or reason
        if self.child is not None:
            self.child.kill()


class Crew:
    """Keeps `workers` processes running, and more of them, one job each, for jobs that must run alone.

    `confinement` is how they are shut in; left out, it is made here, which reads a little of /proc.
    """

    def __init__(
        self,
        config: Config,
        workers: int,
        clock: Clock,
        overseer: Overseer,
        tasks: TaskGroup,
        confinement: Confinement | None = None,
    ) -> None:
        self._config = config.scheduler
        self._sandbox = config.sandbox
        self._prices = Prices(config.prices.call, config.prices.byte)
        self._host_bytes = int(config.host.max_bytes)
        self._size = workers
        self._clock = clock
        self._overseer = overseer
        self._tasks = tasks
        self._workers: dict[int, _Worker] = {}
        self._next = 1
        self._solo = 0
        self._stopping = False
        self._stopped = anyio.Event()
        self._first = anyio.Event()
        self._gone = anyio.Event()
        self._problem = ""
        self._refusal = ""
        self._confinement = confinement or Confinement(config)
        self._artifacts: Path | None = None
        self._cgroups: Cgroups | None = None
        self._no_cgroup = ""
        self.walls: tuple[Wall, ...] = ()
        """The walls around the workers, as the first of them has told; none before."""
        self.engine_version = ""

    async def start(self, artifacts: Path | None = None) -> None:
        """Start the workers and return when the first of them is ready.

        `artifacts` is the directory of all that they are going to map; without it, they cannot map anything.
        Raises `WorkerUnavailable` when the first that comes to anything does not start, and `SandboxUnavailable` when
        it is not shut in as it must be.
        """
        self._artifacts = artifacts
        try:
            self._cgroups = await anyio.to_thread.run_sync(find, self._sandbox, self._size)
        except NoCgroup as error:
            self._no_cgroup = str(error)
        for _ in range(self._size):
            self._tasks.start_soon(self._keep)
        self._tasks.start_soon(self._watch)
        await self._first.wait()
        if self._refusal:
            raise SandboxUnavailable(self._refusal)
        if not any(worker.ready.is_set() for worker in self._workers.values()):
            raise WorkerUnavailable(f"a worker process does not start: {self._problem}")
        # The others are about to be: jobs given out before would all be with the first, and stay there.
        with anyio.move_on_after(_OTHERS_WITHIN):
            for worker in list(self._workers.values()):
                await worker.ready.wait()

    def stop(self) -> None:
        """End all workers now and start no more."""
        self._stopping = True
        self._stopped.set()
        for worker in self._workers.values():
            worker.end("stopped")

    async def wait(self) -> None:
        """Return when no worker is left."""
        while self._workers:
            self._gone = anyio.Event()
            await self._gone.wait()

    def send(self, sendings: Iterable[Sending]) -> None:
        """Send frames to workers; the jobs of a worker that is gone come back through `left`."""
        for number, frame in sendings:
            worker = self._workers.get(number)
            if worker is None or worker.channel is None:
                continue
            if frame is None:
                worker.end("stopped")
            else:
                worker.channel.send(frame)

    def instances(self) -> dict[str, int]:
        """Return how many instances are live in all workers, by what they said last."""
        workers = self._workers.values()
        suspended = sum(w.suspended for w in workers)
        running = sum(w.running for w in workers) - suspended
        return {"fresh": sum(w.fresh for w in workers), "running": running, "suspended": suspended}

    def want_solo(self, wanted: Callable[[], int]) -> None:
        """Keep workers for single jobs while `wanted` says that some wait, at most as many as there are workers."""
        while self._solo < min(wanted(), self._size) and not self._stopping:
            self._solo += 1
            self._tasks.start_soon(self._keep_solo, wanted)

    async def _keep(self) -> None:
        """Run one worker after the other in one place until told to stop; after a failure wait longer each time."""
        failures = 0
        while not self._stopping:
            worker = self._new(solo=False)
            await self._run(worker)
            if worker.ready.is_set():
                failures = 0
                continue
            failures += 1
            self._first.set()
            with anyio.move_on_after(min(_BACKOFF * 2.0 ** min(failures - 1, 20), _BACKOFF_MAX)):
                await self._stopped.wait()

    async def _keep_solo(self, wanted: Callable[[], int]) -> None:
        try:
            while wanted() and not self._stopping:
                worker = self._new(solo=True)
                await self._run(worker)
                if not worker.ready.is_set():
                    with anyio.move_on_after(_BACKOFF_MAX):
                        await self._stopped.wait()
        finally:
            self._solo -= 1

    def _new(self, *, solo: bool) -> _Worker:
        worker = _Worker(self._next, solo=solo)
        self._next += 1
        return worker

    async def _run(self, worker: _Worker) -> None:
        """Live one worker's life."""
        self._workers[worker.number] = worker
        reason, words = "unready", ""
        life = anyio.CancelScope()
        try:
            worker.child = await self._open(worker)
            self._tasks.start_soon(self._stand_back, worker, life)
            exit_status = await worker.child.wait()
            reason = worker.reason or ("killed" if exit_status < 0 else "exited")
            words = worker.child.last_words() or f"exit status {exit_status}"
        except OSError as error:
            words = str(error)
        finally:
            life.cancel()
            if worker.channel is not None:
                worker.channel.close()
            if worker.child is not None:
                await worker.child.bury()
            if self._cgroups is not None:
                with anyio.CancelScope(shield=True):
                    words = await anyio.to_thread.run_sync(self._cgroups.drop, worker.number) or words
            self._problem = words
            del self._workers[worker.number]
            begun: frozenset[int] = frozenset()
            if worker.record is not None:
                begun = worker.record.read()
                worker.record.close()
            self._overseer.left(worker.number, reason, words, begun)
            self._gone.set()

    async def _stand_back(self, worker: _Worker, life: anyio.CancelScope) -> None:
        """Let a worker stand back once it is ready: on a busy machine, it would take its time to start."""
        with life:
            await worker.ready.wait()
            assert worker.child is not None
            await stand_back(worker.child.pid, self._config.niceness)

    async def _open(self, worker: _Worker) -> Child:
        worker.record = Record()
        ours, theirs = socket.socketpair()
        try:
            command = [sys.executable, *PYTHON_FLAGS, "-m", "wasmq_worker", str(theirs.fileno())]
            child = await spawn(command, theirs.fileno(), worker.record.descriptor)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        worker.child = child
        worker.heard = self._clock.monotonic()
        try:
            cgroup = await self._cgroup(child.pid, worker.number)
        except BaseException:
            ours.close()
            raise

        worker.channel = await Channel.open(
            ours, lambda frame: self._heard(worker, cgroup, frame), lambda _: worker.end("protocol")
        )
        config = self._config
        setup = Setup(
            config.engine,
            config.quantum,
            config.instances,
            PULSE,
            self._prices,
            self._host_bytes,
            config.suspended,
            self._confinement.sandbox(worker.number, self._artifacts),
        )
        worker.channel.send(setup)
        if self._stopping:
            worker.end("stopped")
        return child

    def _heard(self, worker: _Worker, cgroup: Wall, frame: Upward) -> None:
        """Take note of a frame. Raises `ProtocolError` when it makes no sense, which ends the worker."""
        worker.heard = self._clock.monotonic()
        if isinstance(frame, Ready) and not worker.ready.is_set():
            self.engine_version = frame.engine_version
            walls = (*frame.walls, cgroup)
            if (refusal := self._confinement.refusal(walls)) is not None:
                self._refusal = refusal
                worker.end("unready")
                return
            self.walls = self.walls or walls
            worker.ready.set()
            self._first.set()
            self.send(self._overseer.joined(worker.number, solo=worker.solo, pace=frame.pace))
            return
        if not worker.ready.is_set():
            raise ProtocolError(f"{type(frame).__name__} came before Ready")
        if isinstance(frame, Pulse):
            worker.fresh, worker.running, worker.suspended = frame.fresh, frame.running, frame.suspended
        self.send(self._overseer.said(worker.number, frame))

    async def _cgroup(self, pid: int, number: int) -> Wall:
        if self._cgroups is None:
            return Wall("cgroup", "down", self._no_cgroup)
        return await anyio.to_thread.run_sync(self._cgroups.put, pid, number)

    async def _watch(self) -> None:
        """Kill workers that have fallen silent."""
        while not self._stopping:
            with anyio.move_on_after(PULSE):
                await self._stopped.wait()
            now = self._clock.monotonic()
            for worker in self._workers.values():
                silent = now - worker.heard
                if not worker.ready.is_set() and silent > _READY_WITHIN:
                    worker.end("unready")
                elif worker.ready.is_set() and silent > self._config.stuck_after:
                    worker.end("stuck")
