"""The examples of docs/guests.md work as they stand there."""

import re
from pathlib import Path

import pytest
from watching import running

import wasmq

GUIDE = (Path(__file__).parents[2] / "docs" / "guests.md").read_text(encoding="utf-8")
(WAT,) = re.findall(r"```wat\n(.*?)```", GUIDE, re.DOTALL)


def offer(scheduler):
    """Offer what the guide's example in Python offers."""
    [example] = [block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "host_function" in block]
    body = "\n".join(line.removeprefix("    ") for line in example.splitlines()[1:])
    exec(body, {"wasmq": wasmq, "scheduler": scheduler})


async def test_the_example_runs(make_scheduler):
    """The guest asks for a price and returns the first character of the answer."""
    async with running(make_scheduler) as scheduler:
        offer(scheduler)
        module = await scheduler.load(WAT)
        assert (await scheduler.run(module, "apple", tenant="acme")).value == ord("0")
        with pytest.raises(wasmq.UnsatisfiedImport, match=r"shop\.price is not granted"):
            await scheduler.submit(module, "apple")
        assert (await scheduler.run(module, "apple", grant=["shop.price"])).value == ord("0")


async def test_the_example_without_a_price_ends_as_the_guide_says(make_scheduler):
    """The line names the function and what it raised."""
    async with running(make_scheduler) as scheduler:
        offer(scheduler)
        module = await scheduler.load(WAT.replace('"apple")\n', '"pearl")\n'))
        with pytest.raises(wasmq.Trapped, match=r"^trapped: host function shop\.price raised KeyError: 'pearl'$"):
            await scheduler.run(module, "apple", tenant="acme")
