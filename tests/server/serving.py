"""The listening side over a scheduler of the test's, in the test's own loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import anyio

from wasmq.server import serve


@asynccontextmanager
async def served(scheduler, **options):
    """Serve while the block runs; gives a function that connects, says something, and returns what reads the answers.

    `writers` of that function are the other ends of what it has returned; `options` are for `serve`.
    """
    up, stopping, places = anyio.Event(), anyio.Event(), []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            lambda: serve(scheduler, ready=lambda *at: places.append(at) or up.set(), stopping=stopping, **options)
        )
        await up.wait()
        writers = []

        async def connect(data=b"", **how):
            reader, writer = await asyncio.open_connection(*places[0], **how)
            writers.append(writer)
            writer.write(data)
            await writer.drain()
            return reader

        connect.writers = writers
        try:
            with anyio.fail_after(60):
                yield connect
        finally:
            for writer in writers:
                writer.close()
            stopping.set()
