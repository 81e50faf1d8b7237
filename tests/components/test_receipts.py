"""Receipts and replay of components: their values are packed, and fetched as JSON they are the same again."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

import wasmq
from wasmq.cli.replay import _submit
from wasmq.replay import compared, run_elsewhere
from wasmq.server.app import build_app


@pytest.mark.parametrize(
    ("export", "value"),
    [
        ("record", {"street": "s", "zip": 7, "is-home": False}),
        ("variant", wasmq.Case("box", (1.0, 2.5))),
        ("result", wasmq.Err(wasmq.Case("of-colour", "red"))),
        ("u64", 2**64 - 1),
    ],
)
async def test_a_component_agrees_with_itself(open_scheduler: Any, components: Any, export: str, value: Any) -> None:
    """As a job again, by HTTP, and from the call as JSON has it."""
    async with open_scheduler() as scheduler:
        transport = httpx.ASGITransport(app=build_app(scheduler))
        async with wasmq.Client("http://localhost", transport=transport) as client:
            module = await scheduler.load(components / "values.wat")
            job = await scheduler.submit(module, export, (value, tuple(range(17))))
            outcome = await job
            assert outcome.receipt.deterministic, outcome.receipt.obstacle
            assert (await scheduler.replay(job.id)).differences == ()
            assert (await client.replay(job.id)).differences == ()
            call, wasm = await client.call(job.id), await client.wasm(module.digest)
            now = await run_elsewhere("interpreter", outcome.receipt, [wasm], lambda other: _submit(other, call))
            assert compared(job.id, None, outcome, now).differences == ()


async def test_a_component_that_asks_for_time_varies(open_scheduler: Any, components: Any) -> None:
    """Unless it was submitted with `deterministic`."""
    async with open_scheduler() as scheduler:
        hello = await scheduler.load(components / "hello.wasm")
        plain = await (await scheduler.submit(hello))
        fixed = [await (await scheduler.submit(hello, deterministic=True)) for _ in range(2)]
        assert "time and chance" in plain.receipt.obstacle
        assert fixed[0].receipt.deterministic
        assert fixed[0].receipt == fixed[1].receipt
