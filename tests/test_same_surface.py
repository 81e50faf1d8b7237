"""A program that uses the scheduler and one that uses a daemon through `Client` are told the same."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

import wasmq
from wasmq import Case, Err, Limits, Ok, Some
from wasmq.server import build_app

COMPONENTS = Path(__file__).parents[1] / "workers" / "guests" / "components"
PADDING = tuple(range(17))
LIBRARY = '(module (func (export "seven") (result i32) (i32.const 7)))'
LINKED = '(module (import "lib" "seven" (func $f (result i32))) (func (export "twice") (result i32) (i32.mul (call $f) (i32.const 2))))'  # noqa: E501
HOSTED = '(module (import "env" "answer" (func $f (result i32))) (func (export "ask") (result i32) (call $f)))'
VARYING = ("queued", "ran", "worker", "memory_peak", "basis")
OPTIONS = [
    {},
    {"limits": Limits(fuel=1_000, memory="1MiB", timeout=5.0, output="1KiB", files="1KiB")},
    {"tenant": "acme"},
    {"priority": 3},
    {"key": "once"},
    {"delay": 0.01},
    {"wait": False},
    {"limits": Limits(fuel=1_000_000, suspend=30.0), "on_exhausted": "suspend"},
]
PROGRAMS = [
    {},
    {"argv": ("-x", "y"), "name": "prog", "env": {"NAME": "x"}, "stdin": b"abc"},
    {"deterministic": True},
]


@asynccontextmanager
async def both(make_scheduler, **options):
    """Open a scheduler, and a client of a daemon over it."""
    async with make_scheduler(**options) as scheduler:
        transport = httpx.ASGITransport(app=build_app(scheduler))
        async with wasmq.Client("http://localhost", transport=transport) as client:
            yield scheduler, client


def told(outcome):
    """Return what is the same each time."""
    facts = {name: value for name, value in msgspec.structs.asdict(outcome).items() if name not in VARYING}
    return facts | {"value": outcome.value}


async def ran(where, *call, **options):
    """Run a job on one of the two."""
    return told(await (await where.submit(*call, **options)))


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "none")
async def test_every_option_of_a_call(make_scheduler, guests, options):
    """A call with any option ends the same through either."""
    async with both(make_scheduler) as (scheduler, client):
        module = await scheduler.load(guests / "mul.wat")
        one = await ran(scheduler, module, "mul", 6, 7, **options)
        other = await ran(client, module.digest, "mul", 6, 7, **options)
        assert (one, one["value"]) == (other, 42)


@pytest.mark.parametrize("options", PROGRAMS, ids=lambda options: "-".join(options) or "none")
async def test_every_option_of_a_program(make_scheduler, guests, options):
    """A program with any option ends the same through either."""
    async with both(make_scheduler) as (scheduler, client):
        module = await scheduler.load(guests / "wasi" / "hello.wasm")
        assert await ran(scheduler, module, **options) == await ran(client, module, **options)


async def test_links_and_grants(make_scheduler):
    """Linked modules and granted host functions are the same through either."""
    async with both(make_scheduler) as (scheduler, client):
        scheduler.host_function("env", "answer", params=(), results=("i32",))(lambda: 42)
        library, linked, hosted = [await client.load(text.encode()) for text in (LIBRARY, LINKED, HOSTED)]
        for where in (scheduler, client):
            assert (await ran(where, linked.digest, "twice", link={"lib": library.digest}))["value"] == 14
            assert (await ran(where, hosted.digest, "ask", grant=("env.answer",)))["value"] == 42
            with pytest.raises(wasmq.WasmqError, match=r"env"):
                await where.submit(hosted.digest, "ask")


async def test_recordings(make_scheduler):
    """What is recorded through either is the same, and so is the replay."""
    async with both(make_scheduler) as (scheduler, client):
        scheduler.host_function("env", "answer", params=(), results=("i32",), tenants="*")(lambda: 42)
        hosted = await client.load(HOSTED.encode())
        found = []
        for where in (scheduler, client):
            job = await where.submit(hosted.digest, "ask", record=True, limits=Limits(recording="1KiB"))
            receipt = (await job).receipt
            replayed = await where.replay(job.id)
            found.append((receipt, await where.recording(job.id), replayed.differences, replayed.now))
        assert found[0] == found[1]
        for where in (scheduler, client):
            plain = await where.submit(hosted.digest, "ask", record=False)
            await plain
            for ask in (where.recording, where.replay):
                with pytest.raises(wasmq.WasmqError, match='not submitted with "record"'):
                    await ask(plain.id)


ECHOED = [
    ("string", "ä" * 32),
    ("string", "NaN"),
    ("bytes", b"\x00\xff" * 8),
    ("u64", 2**64 - 1),
    ("f32", float("inf")),
    ("char", "x"),
    ("record", {"street": "s", "zip": 1, "is_home": True}),
    ("enum", "dark-green"),
    ("flags", {"read", "execute"}),
    ("variant", Case("circle", 1.5)),
    ("variant", "point"),
    ("option", None),
    ("options", Some(None)),
    ("result", Ok("fine")),
    ("result", Err(Case("of-colour", "blue"))),
    ("status", Err()),
]


@pytest.mark.parametrize("lookup", [False, True], ids=["loaded", "digest"])
async def test_values_of_components(make_scheduler, lookup):
    """What a component takes and gives is natural Python through either, whether or not the client has loaded it."""
    async with both(make_scheduler) as (scheduler, client):
        module = await scheduler.load(COMPONENTS / "values.wat")
        if not lookup:
            await client.load(COMPONENTS / "values.wat")
        for export, value in ECHOED:
            one = await ran(scheduler, module, export, (value, PADDING))
            handle = await client.submit(module.digest, export, (value, PADDING))
            assert told(await handle) == one
            assert (await client.job(handle.id)).outcome.value == one["value"]


async def test_values_that_do_not_fit(make_scheduler):
    """A wrong argument of a component is refused in the same line through either."""
    async with both(make_scheduler) as (scheduler, client):
        module = await scheduler.load(COMPONENTS / "values.wat")
        lines = []
        for where in (scheduler, client):
            for export, args in (("record", (({"zip": "x"}, PADDING),)), ("string", ("a",)), ("u", ())):
                with pytest.raises(wasmq.WasmqError) as refused:
                    await where.submit(module.digest, export, *args)
                lines.append((type(refused.value), str(refused.value)))
        assert lines[:3] == lines[3:]
