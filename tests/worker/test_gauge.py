"""The pace of a core is measured by a guest of our own, before anybody else's."""

import threading
from pathlib import Path

import pytest

from wasmq import Scheduler
from wasmq.config import Config, SchedulerConfig
from wasmq.pace import NOMINAL
from wasmq_worker.gauge import measure


@pytest.mark.parametrize("engine", ["native", "interpreter"])
def test_it_measures_and_leaves_nothing_behind(engine):
    """Compiling starts no threads, which would live on outside of the walls; no processor spends so little or much."""

    def threads():
        return len(list(Path("/proc/self/task").iterdir())), threading.active_count()

    before = threads()
    assert 1e6 < measure(engine) < 1e12
    assert threads() == before


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_estimates_rest_on_it_from_the_start(engine):
    """With no job run yet, the pace is one that a worker has measured, not the round figure."""
    async with Scheduler(workers=1, config=Config(scheduler=SchedulerConfig(engine=engine))) as scheduler:
        module = await scheduler.load(b'(module (func (export "f")))')
        estimate = await scheduler.estimate(module, "f")
    assert estimate.outcomes == 0
    assert estimate.fuel_rate != NOMINAL[engine]
