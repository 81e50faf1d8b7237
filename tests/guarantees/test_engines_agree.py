"""The same call gives the same result, trap and fuel on both engines, in one piece or in slices: on modules by lot."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest
from generated import bits, generate

import wasmq
from wasmq.config import Config, ModulesConfig, SchedulerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from generated import Generated

BATCHES = 4
MODULES = 130  # in a batch
LIMITS = wasmq.Limits(fuel=6_000, memory="512KiB", timeout=60.0)
"""Some of the calls need more fuel, and end where it ends."""
WAYS = tuple((engine, quantum) for engine in ("native", "interpreter") for quantum in (1_000, 1_000_000_000))


@asynccontextmanager
async def every_way(directory: Path) -> AsyncIterator[list[wasmq.Scheduler]]:
    """One scheduler for each engine and each length of slices."""
    async with AsyncExitStack() as stack:
        schedulers = []
        for engine, quantum in WAYS:
            config = Config(
                scheduler=SchedulerConfig(workers=1, engine=engine, quantum=quantum),
                modules=ModulesConfig(directory=str(directory / engine)),
            )
            schedulers.append(await stack.enter_async_context(wasmq.Scheduler(config=config)))
        yield schedulers


@pytest.mark.parametrize("batch", range(BATCHES))
async def test_engines_and_slices_agree(tmp_path: Path, batch: int) -> None:
    """Status, values to the bit, the trap's code, memory and fuel to the unit are those of the native, unsliced run."""
    generated = [generate(Random(batch * MODULES + number)) for number in range(MODULES)]
    async with every_way(tmp_path) as schedulers:
        told = [await _tell(scheduler, generated) for scheduler in schedulers]
    for number, module in enumerate(generated):
        reference, *others = [way[number] for way in told]
        assert all(other == reference for other in others), f"{WAYS}: {[reference, *others]}\n{module.text}"
    statuses = {status for calls in told[0] for status, *_ in calls}
    assert statuses >= {"succeeded", "trapped", "out_of_fuel"}, "the generator does not reach every end"


async def _tell(scheduler: wasmq.Scheduler, generated: list[Generated]) -> list[list[tuple[object, ...]]]:
    """Return for each module what became of its calls."""
    handles = []
    for module in generated:
        loaded = await scheduler.load(module.text)
        handles.append([await scheduler.submit(loaded, export, *args, limits=LIMITS) for export, args in module.calls])
    return [[_facts(await handle) for handle in calls] for calls in handles]


def _facts(outcome: wasmq.Outcome) -> tuple[object, ...]:
    trap = outcome.trap.code if outcome.trap is not None else None
    return outcome.status, bits(outcome.values), trap, outcome.fuel_used, outcome.memory_peak
