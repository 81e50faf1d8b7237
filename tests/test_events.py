"""Events: a job's states, its fuel and its output, told only to who watches, and to each at its own pace."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmq
from wasmq.events import JobOutput, JobQueued, JobStarted, Position
from wasmq_worker.protocol import Progress, Watch
from wasmq_worker.watched import CHUNK, Watched

COUNTS = st.integers(0, 10**12 - 1)
LONG = wasmq.Limits(fuel=10**12, timeout=60)
PRINTER = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "0123456789")
  (func (export "print_then_spin") (param $lines i32)
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 10))
    (loop $print
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $print (local.tee $lines (i32.sub (local.get $lines) (i32.const 1)))))
    (loop $spin (br $spin))))
"""


@given(COUNTS, COUNTS, COUNTS)
def test_a_position_is_read_back(attempt, stdout, stderr):
    """The text of a position, an event's id, is the position again."""
    position = Position(attempt, stdout, stderr)
    assert Position.parse(str(position)) == position


@given(st.text())
def test_any_text_is_a_position_or_none(text):
    """What somebody else sends as an id is a position or nothing, never an error."""
    position = Position.parse(text)
    assert position is None or min(position.attempt, position.stdout, position.stderr) >= 0


def test_a_position_follows_the_events():
    """Output moves its own stream on; another attempt begins anew; the same attempt goes on where it was."""
    position = Position().behind(JobStarted(1)).behind(JobOutput(1, "stdout", 0, b"abc"))
    position = position.behind(JobOutput(1, "stderr", 0, b"x")).behind(JobStarted(1))
    assert position == Position(1, 3, 1)
    assert position.behind(JobQueued(1)) == position
    assert position.behind(JobStarted(2)) == Position(2)


def instance(polled=0, fuel=10**9, stdout=b"", stderr=b""):
    world = SimpleNamespace(stdout=bytearray(stdout), stderr=bytearray(stderr))
    assignment, guest = SimpleNamespace(fuel=fuel), SimpleNamespace(world=world)
    return SimpleNamespace(polled=polled, assignment=assignment, guest=guest, meter=None)


def test_a_worker_tells_once_and_only_what_is_new():
    """A watch is answered when there is more than is known, with just that, and is over with it."""
    watched = Watched()
    live = {7: instance(polled=100, stdout=b"abcdef")}
    watched.add(Watch(1, 7, 100, 6, 0))
    assert watched.look(live) is None
    live[7].guest.world.stdout += b"ghi"
    progress = watched.look(live)
    assert isinstance(progress, Progress)
    assert [(seen.watch, seen.fuel, seen.stdout) for seen in progress.seen] == [(1, 100, b"ghi")]
    assert not watched.any


def test_a_worker_tells_in_pieces():
    """However much a guest has written, one look tells a bounded piece of it; nobody hears of a job that is gone."""
    watched = Watched()
    live = {7: instance(stdout=b"x" * (3 * CHUNK), stderr=b"y")}
    watched.add(Watch(1, 7, 0, CHUNK, 0))
    watched.add(Watch(2, 8, 0, 0, 0))
    [seen] = watched.look(live).seen
    assert (len(seen.stdout), seen.stderr) == (CHUNK, b"y")
    assert not watched.any
    watched.add(Watch(3, 7, 0, 0, 0))
    watched.remove([3, 4])
    assert watched.look(live) is None


async def test_a_running_job_tells_its_fuel_and_output(make_scheduler):
    """While a job runs, its output comes and its fuel grows; cancelled, it says so, and all output was told once."""
    async with make_scheduler() as scheduler:
        module = await scheduler.load(PRINTER)
        job = await scheduler.submit(module, "print_then_spin", 10_000, limits=LONG)
        events, fuel = [], []
        async for event in job.events():
            events.append(event)
            if isinstance(event, wasmq.JobProgress):
                fuel.append(event.fuel_used)
                if len(fuel) == 3:
                    await job.cancel()
        told = b"".join(event.data for event in events if isinstance(event, JobOutput))
        outcome = events[-1].outcome
        assert outcome.status == "cancelled"
        assert told == outcome.stdout == b"0123456789" * 10_000
        assert fuel == sorted(set(fuel))
        assert fuel[-1] <= outcome.fuel_used
        assert [type(event) for event in events if isinstance(event, (JobQueued, JobStarted))][-1] is JobStarted


async def test_who_comes_back_hears_the_rest(make_scheduler):
    """From a position on, only the output behind it is told, of a running job as of a finished one."""
    async with make_scheduler() as scheduler:
        module = await scheduler.load(PRINTER)
        job = await scheduler.submit(module, "print_then_spin", 100, limits=LONG)
        events = job.events()
        async for event in events:
            if isinstance(event, JobOutput):
                break
        await events.aclose()
        assert event == JobOutput(1, "stdout", 0, b"0123456789" * 100)
        later = scheduler.events(job.id, Position(1, 995))
        async for event in later:
            if isinstance(event, JobOutput):
                break
        await later.aclose()
        assert event == JobOutput(1, "stdout", 995, b"56789")
        await job.cancel()
        await job
        assert [type(event) async for event in scheduler.events(job.id, Position(1, 1000))] == [wasmq.JobFinished]
        first, _ = [event async for event in scheduler.events(job.id, Position(1, 999))]
        assert first == JobOutput(1, "stdout", 999, b"9")
        # The position is one in another attempt's output.
        first, _ = [event async for event in scheduler.events(job.id, Position(2, 999))]
        assert first == JobOutput(1, "stdout", 0, b"0123456789" * 100)


async def test_a_slow_onlooker_holds_up_nobody(make_scheduler):
    """One who does not listen has one piece waiting for it, while another hears everything."""
    async with make_scheduler() as scheduler:
        module = await scheduler.load(PRINTER)
        job = await scheduler.submit(module, "print_then_spin", 60_000, limits=wasmq.Limits(fuel=10**12, timeout=60))
        slow, told, first = job.events(), 0, 0
        async for event in slow:
            if isinstance(event, JobOutput):
                first = len(event.data)
                break
        async for event in job.events():
            if isinstance(event, JobOutput):
                told += len(event.data)
            if told == 600_000:
                await job.cancel()
                told += 1
        assert 0 < first <= CHUNK
        rest = [event async for event in slow]
        assert sum(len(each.data) for each in rest if isinstance(each, JobOutput)) == 600_000 - first
        assert max(len(each.data) for each in rest if isinstance(each, JobOutput)) <= CHUNK


async def test_a_job_that_runs_again_says_so(make_scheduler):
    """When its worker dies, a job goes back to the queue and is started anew, and so is its output."""
    async with make_scheduler(workers=2, max_attempts=2) as scheduler:
        module = await scheduler.load(PRINTER)
        job = await scheduler.submit(module, "print_then_spin", 1, limits=LONG)
        states, outputs, killed = [], [], False
        async for event in job.events():
            if isinstance(event, (JobQueued, JobStarted)):
                states.append(event)
            if isinstance(event, JobOutput):
                outputs.append((event.attempt, event.offset, event.data))
                worker, _, _ = scheduler._pool.where(job.id)
                if not killed:
                    killed = True
                    os.kill(scheduler._crew._workers[worker].child.pid, signal.SIGKILL)
                else:
                    await job.cancel()
        assert states[-3:] == [JobStarted(1), JobQueued(1), JobStarted(2)]
        assert outputs == [(1, 0, b"0123456789"), (2, 0, b"0123456789")]


async def test_events_end_with_the_scheduler(make_scheduler):
    """Who listens when the scheduler stops hears the end of the job, which a store in memory does not survive."""
    events = []
    async with anyio.create_task_group() as tasks, make_scheduler(grace=0.0) as scheduler:
        module = await scheduler.load(PRINTER)
        job = await scheduler.submit(module, "print_then_spin", 1, limits=LONG)
        running = anyio.Event()

        async def listen():
            async for event in job.events():
                events.append(event)
                if isinstance(event, JobStarted):
                    running.set()

        tasks.start_soon(listen)
        await running.wait()
    assert events[-1].outcome.status == "cancelled"


async def test_nobody_is_forgotten(make_scheduler):
    """When all have gone, nothing is kept of them."""
    async with make_scheduler() as scheduler:
        module = await scheduler.load(PRINTER)
        job = await scheduler.submit(module, "print_then_spin", 1, limits=LONG)
        watching = [job.events() for _ in range(5)]
        for events in watching:
            await anext(events)
        assert len(scheduler._onlookers._by_number) == 5
        for events in watching:
            await events.aclose()
        assert (scheduler._onlookers._by_number, scheduler._onlookers._by_job) == ({}, {})
        await job.cancel()


async def test_nothing_can_be_watched_before_the_start(make_scheduler):
    """A scheduler that has not started has no jobs to tell of."""
    with pytest.raises(wasmq.SchedulerClosed):
        make_scheduler().events("nobody")
