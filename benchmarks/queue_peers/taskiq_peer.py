"""taskiq on Redis streams: `taskiq_peer.py worker URL` takes jobs, `taskiq_peer.py callers URL` measures."""

from __future__ import annotations

import asyncio
import sys

from load import CALLERS, load, often
from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

role, url = sys.argv[1:]
broker = RedisStreamBroker(url, consumer_id="0").with_result_backend(RedisAsyncResultBackend(url))


@broker.task
async def multiply(a: int, b: int) -> int:
    return a * b


async def call(a: int, b: int, callers: int) -> int:
    task = await multiply.kiq(a, b)
    return (await task.wait_result(check_interval=often(callers))).return_value


async def main() -> None:
    if role == "worker":
        broker.is_worker_process = True
        await run_receiver_task(broker, max_async_tasks=CALLERS, run_startup=True)
    else:
        await broker.startup()
        await load(call)
        await broker.shutdown()


asyncio.run(main())
