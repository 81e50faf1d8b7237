"""Nothing blocks the event loop: whatever is slow happens in another process or another thread.

Every blocking call that Python makes on the loop's thread raises here. Left out are three things that happen once:
making the scheduler, which reads the engine's version, the first scrape, which imports the Prometheus client, and the
start of a process, which asyncio itself does on the loop: at the start, for the first compilation, and for a worker
that is replaced.
"""

import asyncio
import os
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from blockbuster import BlockBuster, BlockingError
from watching import ENDLESS, running, until

import wasmq
from wasmq.config import Config, ModulesConfig


@contextmanager
def nothing_blocks():
    """No blocking call on the loop's thread inside this block, but those that start a process."""
    guard = BlockBuster()
    for function in guard.functions.values():
        function.can_block_in("subprocess.py", {"__init__", "_execute_child", "_get_devnull", "_get_handles"})
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()


async def test_the_guard_is_awake():
    """It would notice a call that blocks."""
    with nothing_blocks(), pytest.raises(BlockingError):
        Path("/").stat()  # noqa: ASYNC240


async def test_a_schedulers_whole_life_blocks_nothing(make_scheduler, guests, tmp_path):
    """Start, load, submit, run, map, cancel, ask, scrape, a worker that dies, stop: not one blocking call."""
    scheduler = make_scheduler(config=Config(modules=ModulesConfig(directory=str(tmp_path))), grace=0.0)
    scheduler.metrics.render()
    big = '(module (func (export "f") ' + "(drop (i32.const 1))" * 10_000 + "))"
    with nothing_blocks():
        async with running(lambda: scheduler):
            fib = await scheduler.load(guests / "fib.wat")
            assert await scheduler.load(str(guests / "fib.wat")) is fib
            large = await scheduler.load(big)
            assert (await scheduler.run(fib, "fib", 10)).value == 55
            assert [outcome.value async for outcome in scheduler.map(fib, "fib", [(5,)] * 300)] == [5] * 300
            await asyncio.gather(*(scheduler.run(large, "f") for _ in range(100)))
            with pytest.raises(wasmq.InvalidModule):
                await scheduler.load("(module")
            with pytest.raises(wasmq.InvalidArguments):
                await scheduler.submit(fib, "fib", "x")
            loop = await scheduler.load(guests / "loop.wat")
            job = await scheduler.submit(loop, "spin", limits=ENDLESS, key="k")
            # Eyes on /proc would block too: here the scheduler's own books must do.
            await until(lambda: job.id in scheduler._pool._tickets)
            number, _ = scheduler._pool._tickets[job.id]
            os.kill(scheduler._crew._workers[number].child.pid, signal.SIGKILL)
            await until(lambda: scheduler._pool._tickets.get(job.id, (number, 0))[0] != number)
            assert await job.cancel()
            assert (await scheduler.wait(job.id)).attempts == 2
            assert len(await scheduler.jobs(status="succeeded")) == 100
            scheduler.metrics.render()
    assert (await job).status == "cancelled"
