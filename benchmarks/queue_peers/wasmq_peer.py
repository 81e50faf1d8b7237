"""wasmq: `wasmq_peer.py callers URL` measures; its worker is a process that the scheduler starts."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from load import load

import wasmq

MUL = Path(__file__).parents[2] / "workers" / "guests" / "mul.wat"


async def main(url: str) -> None:
    async with wasmq.Scheduler(workers=1, store=url) as scheduler:
        mul = await scheduler.load(MUL)

        async def call(a: int, b: int, _callers: int) -> int:
            return (await scheduler.run(mul, "mul", a, b)).value

        await load(call)


asyncio.run(main(sys.argv[2]))
