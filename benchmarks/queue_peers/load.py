"""What every queue is asked, ours too: the same calls, the same clock. Imports nothing that peers lack."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALLERS = 256
WARM = 1.0  # seconds before what is measured begins
SECONDS = 5.0
ALONE = 200  # jobs of the one caller, in `SECONDS` at most


def often(callers: int) -> float:
    """Return the seconds between two looks for a result, for a queue whose callers have to look.

    Few callers look often. Many would take the server's time by that, and looking seldom would limit their rate.
    """
    return 0.005 if callers == 1 else 0.1


async def load(multiply: Callable[[int, int, int], Awaitable[int]]) -> None:
    """Print as JSON: jobs a second of many callers who each wait for a result, and the seconds of one caller's jobs.

    `multiply` gets two numbers and how many callers there are.
    """
    done = 0

    async def caller(number: int, end: float) -> None:
        nonlocal done
        while time.perf_counter() < end:
            if await multiply(number, 7, CALLERS) != 7 * number:
                raise RuntimeError("a wrong product came back")
            done += 1

    async def together(seconds: float) -> float:
        nonlocal done
        done, start = 0, time.perf_counter()
        await asyncio.gather(*(caller(number, start + seconds) for number in range(CALLERS)))
        return done / (time.perf_counter() - start)

    await multiply(2, 4, 1)
    await together(WARM)
    rate = await together(SECONDS)
    alone: list[float] = []
    begun = time.perf_counter()
    while len(alone) < ALONE and time.perf_counter() < begun + SECONDS:
        start = time.perf_counter()
        await multiply(2, 4, 1)
        alone.append(time.perf_counter() - start)
    print(json.dumps({"rate": rate, "alone": alone}), flush=True)
