"""A daemon under mixed load for minutes: as fast and as small at the end as after the first, and no complaints.

WASMQ_TEST_SEED repeats what the clients do.
"""

import random
from collections import Counter

import anyio
import pytest
from kills import Daemon, alive, children, until
from soak import Load, Weight, descriptors, growth, thirds, weigh

import wasmq

pytest.importorskip("litestar")

CLIENTS = 6
HISTORY = 2_000  # finished jobs kept: passed within the warm-up
SLOWEST = 0.4  # of the fastest third's throughput, at least: what else the machine does is not the daemon's doing
ROOM = 8 * 2**20  # bytes that a process may grow by, whatever it does: what its allocators keep
PER_JOB = 64  # and so many for each job: less than anything that is kept of one
EXPECTED = {"worker.sandbox"}  # events at warning or above: which walls this machine lacks


@pytest.fixture
def daemon(tmp_path):
    """A daemon on SQLite with two workers."""
    daemon = Daemon(tmp_path, 0, f"sqlite:///{tmp_path}/jobs.db", None, 3, history=HISTORY, workers=2)
    daemon.start_ready()
    yield daemon
    if daemon.running.poll() is None:
        daemon.kill()


async def soak(daemon, pids, seed, warm, seconds):
    """Load a daemon; returns what was done, and what processes weighed after the warm-up."""
    done = Counter()
    async with wasmq.Client(f"http://127.0.0.1:{daemon.port}") as client:
        choice = random.Random(seed)
        loads = [Load(client, random.Random(choice.random()), f"tenant-{number}") for number in range(CLIENTS)]
        for load in loads:
            await load.prepare()
        async with anyio.create_task_group() as tasks:
            for load in loads:
                tasks.start_soon(load.run)
            await anyio.sleep(warm)
            weights = await weigh(pids, loads, seconds)
            tasks.cancel_scope.cancel()
        # What clients have walked away from would be handed back by the drain, which is no surprise.
        for state in ("queued", "running"):
            for job in await client.jobs(status=state):
                await client.cancel(job.id)
                await client.wait(job.id)
        for load in loads:
            done += load.done
    return done, weights


@pytest.mark.parametrize(("warm", "seconds"), [(2, 6), pytest.param(60, 240, marks=pytest.mark.slow)])
async def test_a_loaded_daemon_stays_as_it_was(daemon, seed, warm, seconds):
    """All answers are right, no process is replaced, throughput and memory stay flat, and the log has no surprises."""
    pid, workers = daemon.running.pid, daemon.workers()
    assert len(workers) == 2
    async with wasmq.Client(f"http://127.0.0.1:{daemon.port}") as client:
        await Load(client, random.Random(seed), "first").prepare()
    idle = descriptors(pid)
    done, weights = await soak(daemon, (pid, *workers), seed, warm, seconds)
    speeds = thirds(weights)
    jobs = weights[-1].done - weights[0].done
    sizes = {each: growth(weights, each) for each in (pid, *workers)}
    print(f"{dict(done)}; {[round(speed) for speed in speeds]} a second in each third")
    print(f"grown by {[round(size / 1_024) for size in sizes.values()]} KiB in {jobs} jobs")
    assert min(done[kind] for kind in ("succeeded", "trapped", "out_of_fuel", "timed_out", "cancelled", "refused")) > 0
    # Beside them there is the process that compiles.
    assert daemon.running.poll() is None
    assert daemon.workers()[:2] == workers
    if seconds > 60:
        assert min(speeds) > SLOWEST * max(speeds)
        assert all(size < ROOM + PER_JOB * jobs for size in sizes.values()), sizes
    until(lambda: descriptors(pid) <= idle, "the end of every connection")
    started = {each: alive(each) for each in children(pid)}
    assert daemon.drain() == 0
    loud = Counter(event["event"] for event in daemon.events() if event["level"] not in ("debug", "info"))
    assert set(loud) <= EXPECTED, loud
    assert [each for each in started if alive(each) == started[each]] == []
    assert list(daemon.temporary.iterdir()) == []


def test_what_grows_is_seen():
    """The slope through the weights is what a process grew by, however it jumps about; thirds say how fast each was."""
    weights = [Weight(float(at), at * at, {1: 1_000 * at + (-1) ** at, 2: 5}) for at in range(31)]
    assert growth(weights, 1) == pytest.approx(30_000, rel=0.01)
    assert growth(weights, 2) == 0
    assert thirds(weights) == [10.0, 30.0, 50.0]
