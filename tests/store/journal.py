"""A program that the crash tests kill: it puts jobs, claims and finishes them, and says each thing once it is sure.

    python journal.py URL START

writes a line for each promise of the store: "put ID", "claim ID ATTEMPT", "end ID ATTEMPT".
"""

import asyncio
import itertools
import os
import sys

from clocks import VirtualClock
from conformance import SUCCEEDED, make_job

from wasmq.config import StoreConfig
from wasmq.store import Finished, open_store


def say(*words: object) -> None:
    """One write, so that whoever kills this never sees half a line."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def main(url: str, start: str) -> None:
    """Until somebody kills it."""
    clock = VirtualClock()
    store = open_store(url, StoreConfig(history=10**9), clock)
    await store.open()
    for job in await store.orphans(clock.now):
        await store.release([job], charged=True, due=clock.now)
    numbers = itertools.count()

    async def put() -> None:
        while True:
            names = [f"{start}-{next(numbers):06}" for _ in range(3)]
            await store.put([make_job(name, clock) for name in names])
            for name in names:
                say("put", name)

    async def work() -> None:
        while True:
            jobs = await store.claim(4, clock.now)
            for job in jobs:
                say("claim", job.id, job.attempt)
            ends = [Finished(job.id, job.attempt, SUCCEEDED) for job in jobs[1:]]
            for job, recorded in zip(jobs[1:], await store.finish(ends), strict=True):
                if recorded:
                    say("end", job.id, job.attempt)
            await store.release(jobs[:1], charged=True, due=clock.now)

    await asyncio.gather(*(put() for _ in range(4)), *(work() for _ in range(4)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
