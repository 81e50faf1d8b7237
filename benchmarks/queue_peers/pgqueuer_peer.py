"""pgqueuer: `pgqueuer_peer.py worker URL` takes jobs, `pgqueuer_peer.py callers URL` measures.

It records that a job has ended, not what it returned; callers wait for the record.
"""

from __future__ import annotations

import asyncio
import json
import sys

import asyncpg
from load import CALLERS, load
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, Job, Queries, QueueManager
from pgqueuer.core.completion import CompletionWatcher

BATCH = 64


async def work(url: str) -> None:
    queries = Queries(AsyncpgDriver(await asyncpg.connect(url)))
    await queries.install()
    manager = QueueManager(queries)

    @manager.entrypoint("multiply")
    async def multiply(job: Job) -> None:
        a, b = json.loads(job.payload)
        assert a * b >= 0

    await manager.run(batch_size=BATCH, max_concurrent_tasks=CALLERS)


async def measure(url: str) -> None:
    watching = AsyncpgDriver(await asyncpg.connect(url))
    queries = Queries(AsyncpgPoolDriver(await asyncpg.create_pool(url, min_size=8, max_size=8)))
    async with CompletionWatcher(watching, queries=Queries(watching)) as watcher:

        async def call(a: int, b: int, _callers: int) -> int:
            [job] = await queries.enqueue("multiply", json.dumps([a, b]).encode())
            if await watcher.wait_for(job) != "successful":
                raise RuntimeError("a job failed")
            return a * b

        await load(call)


asyncio.run({"worker": work, "callers": measure}[sys.argv[1]](sys.argv[2]))
