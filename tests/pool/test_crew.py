"""The crew with real worker processes: started, watched, replaced, and gone in the end."""

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager

import anyio
import pytest
from watching import PATIENCE, until, workers

from wasmq.clock import SystemClock
from wasmq.config import Config, SchedulerConfig
from wasmq.errors import WorkerUnavailable
from wasmq.pool.begun import Record
from wasmq.pool.crew import Crew
from wasmq.pool.pool import Sending
from wasmq.pool.process import spawn
from wasmq_worker.protocol import BEGUN_SLOTS as SLOTS
from wasmq_worker.protocol import Assignment, Map, Outcomes, ProtocolError, Pulse, Signature, Start, Unmappable


class Recorder:
    """An overseer that writes down what it is told, and refuses the frames it is told to refuse."""

    def __init__(self):
        self.ready = {}
        self.frames = []
        self.gone = {}
        self.begun = {}
        self.refuse = ()
        self.answer = []
        self._changed = anyio.Event()

    def joined(self, worker, *, solo, pace):
        """Write down a worker that is ready, by whether it is for single jobs."""
        self.ready[worker] = solo
        self._ring()
        return self.answer

    def said(self, worker, frame):
        """Write down what a worker said, pulses aside."""
        if isinstance(frame, self.refuse):
            raise ProtocolError("not what was wanted")
        if not isinstance(frame, Pulse):
            self.frames.append((worker, frame))
            self._ring()
        return []

    def left(self, worker, reason, words, begun):
        """Write down a worker that is gone."""
        self.gone[worker] = (reason, words)
        self.begun[worker] = begun
        self._ring()

    def _ring(self):
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition):
        """Return once `condition` holds of what has been written down."""
        while not condition():
            await self._changed.wait()


@asynccontextmanager
async def crew_of(count, recorder, **settings):
    """A crew that has started; in the end it is stopped and no process is left."""
    async with asyncio.timeout(PATIENCE), anyio.create_task_group() as tasks:
        crew = Crew(Config(scheduler=SchedulerConfig(**settings)), count, SystemClock(), recorder, tasks)
        try:
            await crew.start()
            yield crew
        finally:
            with anyio.CancelScope(shield=True):
                crew.stop()
                await crew.wait()
    assert workers() == []


async def test_as_many_workers_as_wanted():
    """Start returns with the first that is ready; all come, each under a number of its own, none for single jobs."""
    recorder = Recorder()
    async with crew_of(2, recorder) as crew:
        assert recorder.ready
        assert crew.engine_version.startswith("wasmtime ")
        await recorder.until(lambda: len(recorder.ready) == 2)
        assert recorder.ready == {1: False, 2: False}
        assert len(workers()) == 2
        assert recorder.gone == {}
    assert {reason for reason, _ in recorder.gone.values()} == {"stopped"}


async def test_frames_go_there_and_back():
    """What is sent to a worker it answers; the overseer's own answers are sent too; one that is gone costs nothing."""
    recorder = Recorder()
    recorder.answer = [Sending(1, Start([_assignment(7)]))]
    async with crew_of(1, recorder) as crew:
        crew.send([Sending(1, Map(3, "/nowhere", False, False, 0, -1, (Signature(0, (), ()),)))])
        crew.send([Sending(1, Start([_assignment(8, module=3)])), Sending(99, Start([_assignment(9)]))])
        await recorder.until(lambda: len(recorder.frames) == 2)
        assert [(worker, type(frame)) for worker, frame in recorder.frames] == [(1, Unmappable)] * 2
        assert [frame.tickets for _, frame in recorder.frames] == [[7], [8]]
        assert "No such file" in recorder.frames[1][1].reason


def _assignment(ticket, module=1):
    return Assignment(ticket, module, 0, (), 100, 65_536, 1.0, 100, 1, 1.0)


async def test_a_killed_worker_is_replaced():
    """It is told of with the signal, and another comes under a new number."""
    recorder = Recorder()
    async with crew_of(1, recorder):
        os.kill(workers()[0], signal.SIGKILL)
        await recorder.until(lambda: 2 in recorder.ready)
        assert recorder.gone == {1: ("killed", "exit status -9")}


async def test_what_a_worker_began_is_read_when_it_is_dead():
    """Also what it never told of; and it cannot give the file another size, which the reader would stumble over."""
    record = Record()
    command = [sys.executable, "-I", "-c", _BEGIN]
    child = await spawn(command, 2, record.descriptor)
    assert await child.wait() == -9, child.last_words()
    await child.bury()
    # The first of them are written over by the last.
    assert record.read() == {*range(4, SLOTS + 4)}
    record.close()


_BEGIN = """
import os
from wasmq_worker.begun import Begun
from wasmq_worker.protocol import BEGUN_SLOTS as SLOTS
begun = Begun()
for ticket in range(1, SLOTS + 4):
    begun.note(ticket)
for size in (0, 1 << 20):
    try:
        os.ftruncate(0, size)
    except PermissionError:
        pass
    else:
        raise SystemExit("its size was changed")
os.kill(os.getpid(), 9)
"""


async def test_a_worker_killed_before_it_is_ready_is_replaced():
    """Its start failed, so the next one waits a moment, and comes."""
    recorder = Recorder()
    async with crew_of(1, recorder):
        for number in (1, 2, 3):
            await until(lambda number=number: len(workers()) == 1 and number - 1 in (0, *recorder.gone))
            os.kill(workers()[0], signal.SIGKILL)
            await recorder.until(lambda number=number: number in recorder.gone)
        await recorder.until(lambda: recorder.ready.keys() - recorder.gone.keys())


async def test_a_worker_that_talks_nonsense_is_put_down():
    """A frame that the overseer refuses ends the worker, which is replaced."""
    recorder = Recorder()
    recorder.refuse = (Unmappable,)
    async with crew_of(1, recorder) as crew:
        crew.send([Sending(1, Start([_assignment(1)]))])
        await recorder.until(lambda: 2 in recorder.ready)
        assert recorder.gone[1][0] == "protocol"
        assert recorder.frames == []


async def test_a_silent_worker_is_put_down():
    """One that is alive but has stopped giving signs of it is killed and replaced."""
    recorder = Recorder()
    async with crew_of(1, recorder, stuck_after=3.0):
        os.kill(workers()[0], signal.SIGSTOP)
        await recorder.until(lambda: 2 in recorder.ready)
        assert recorder.gone[1][0] == "stuck"


async def test_an_overseer_that_stood_still_blames_nobody():
    """What workers said while this process did nothing counts, before anybody is taken for silent."""
    recorder = Recorder()
    async with crew_of(1, recorder, stuck_after=2.0) as crew:
        time.sleep(3.0)  # noqa: ASYNC251 - nothing else may run here
        after = time.monotonic() + 1.0
        await until(lambda: recorder.gone or crew._workers[1].heard > after)
        assert recorder.gone == {}


async def test_a_worker_that_is_let_go_is_not_lost():
    """An empty sending ends a worker in good order."""
    recorder = Recorder()
    async with crew_of(1, recorder) as crew:
        crew.send([Sending(1, None)])
        await recorder.until(lambda: 2 in recorder.ready)
        assert recorder.gone[1][0] == "stopped"


async def test_workers_for_single_jobs_come_when_wanted():
    """As many as jobs wait, at most as many as there are workers; each ends when it is let go and none is wanted."""
    recorder = Recorder()
    waiting = 5
    async with crew_of(2, recorder) as crew:
        await recorder.until(lambda: len(recorder.ready) == 2)
        crew.want_solo(lambda: waiting)
        crew.want_solo(lambda: waiting)
        await recorder.until(lambda: len(recorder.ready) == 4)
        solos = [worker for worker, solo in recorder.ready.items() if solo]
        assert len(solos) == 2
        assert len(workers()) == 4
        # One that dies while jobs wait is followed by another.
        crew.send([Sending(solos[0], None)])
        await recorder.until(lambda: len(recorder.ready) == 5)
        waiting = 0
        crew.send([Sending(worker, None) for worker, solo in recorder.ready.items() if solo])
        await until(lambda: len(workers()) == 2)
        waiting = 1
        crew.want_solo(lambda: waiting)
        await recorder.until(lambda: len(recorder.ready) == 6)


async def test_what_cannot_start_says_why(monkeypatch, tmp_path):
    """A worker that ends at once, and a program that is not there: one error, with the last words it had."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 3\n")
    broken.chmod(0o700)
    for executable, words in ((str(broken), "no such module"), (str(tmp_path / "none"), "No such file")):
        monkeypatch.setattr(sys, "executable", executable)
        recorder = Recorder()
        with pytest.RaisesGroup(pytest.RaisesExc(WorkerUnavailable, match=f"does not start: .*{words}")):
            async with crew_of(1, recorder):
                pass
        assert {reason for reason, _ in recorder.gone.values()} <= {"unready", "exited"}


async def test_stopping_while_workers_start():
    """Whatever a worker was about to do, after the stop it is gone."""
    recorder = Recorder()
    async with crew_of(3, recorder):
        pass
    assert not any(isinstance(frame, Outcomes) for _, frame in recorder.frames)
