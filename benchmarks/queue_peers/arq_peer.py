"""arq: `arq_peer.py worker URL` takes jobs, `arq_peer.py callers URL` measures."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from load import CALLERS, load, often

POLL = 0.005  # seconds between two looks of the worker, instead of 0.5


async def multiply(_context: dict[str, Any], a: int, b: int) -> int:
    return a * b


async def main(role: str, url: str) -> None:
    settings = RedisSettings.from_dsn(url)
    if role == "worker":
        await Worker([multiply], redis_settings=settings, max_jobs=CALLERS, poll_delay=POLL).async_run()
        return
    pool = await create_pool(settings)

    async def call(a: int, b: int, callers: int) -> int:
        job = await pool.enqueue_job("multiply", a, b)
        return await job.result(poll_delay=often(callers))

    await load(call)
    await pool.close(close_connection_pool=True)


asyncio.run(main(*sys.argv[1:]))
