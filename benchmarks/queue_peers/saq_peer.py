"""SAQ: `saq_peer.py worker URL` takes jobs, `saq_peer.py callers URL` measures."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from load import CALLERS, load, often
from saq import Queue, Worker


async def multiply(_context: dict[str, Any], *, a: int, b: int) -> int:
    return a * b


async def main(role: str, url: str) -> None:
    queue = Queue.from_url(url)
    await queue.connect()
    if role == "worker":
        await Worker(queue, [multiply], concurrency=CALLERS).start()
    else:

        async def call(a: int, b: int, callers: int) -> int:
            return await queue.apply("multiply", poll_interval=often(callers), a=a, b=b)

        await load(call)
        await queue.disconnect()


asyncio.run(main(*sys.argv[1:]))
