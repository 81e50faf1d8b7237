"""Replay: a job once more, on either engine, and what is said of it."""

from __future__ import annotations

import base64
import math

import httpx
import msgspec
import pytest
from watching import ENDLESS, running, sample, until_running

import wasmq
from wasmq.config import Config, PricesConfig
from wasmq.job import Call, Caps, Job, Outcome, Trap
from wasmq.replay import compared
from wasmq.server import build_app

JOB = Job(
    id="a",
    call=Call("f" * 64, "run", (1,)),
    caps=Caps(10, 20, 3.0, 40, 50),
    tenant="acme",
    priority=7,
    key="mine",
    submitted_at=1.0,
    due=2.0,
    order=3.0,
    cost=4.0,
    varies=None,
)
DONE = Outcome(status="succeeded", values=(8,), fuel_used=4, stdout=b"abc", engine="native", basis=JOB)
OVERFLOWN = Outcome(
    status="trapped", trap=Trap(code="stack_overflow"), fuel_used=100, stdout=b"x", engine="native", basis=JOB
)


def changed(outcome, **changes):
    return msgspec.structs.replace(outcome, **changes)


@pytest.mark.parametrize(
    ("now", "lines"),
    [
        (DONE, ()),
        (changed(DONE, engine="interpreter", ran=9.0, worker="2", attempts=3, memory_peak=9), ()),
        (changed(DONE, fuel_used=0, fuel_saved=4, reused="b"), ()),
        (changed(DONE, fuel_used=5), ("fuel: 4 then, 5 now",)),
        (changed(DONE, values=(9,)), ("value: 8 then, 9 now",)),
        (changed(DONE, values=(8.0,)), ("value: 8 then, 8.0 now",)),
        (changed(DONE, stdout=b"abXY"), ("stdout: 3 bytes then, 4 now; they differ from byte 2 on",)),
        (changed(DONE, files={"f": b""}), ("files: 1 differ, first 'f'",)),
        (
            changed(DONE, status="trapped", values=(), trap=Trap(code="unreachable"), fuel_used=3),
            (
                "status: succeeded then, trapped now",
                "fuel: 4 then, 3 now",
                "value: 8 then, None now",
                "trap: None then, unreachable now",
            ),
        ),
        (
            changed(DONE, basis=changed(JOB, call=Call("e" * 64, "run", (1,)))),
            ("call: it was not the same, by its digest",),
        ),
    ],
)
def test_what_differs_is_said(now, lines):
    """A line for each difference in status, fuel and result, and none for what is a run's own."""
    found = compared("a", "b", DONE, now)
    assert found.differences == lines
    assert found.agrees is (not lines)


def test_bits_that_are_shown_alike_differ_all_the_same():
    """Two NaNs with other bits: the digests say so where the words cannot."""
    one, other = (msgspec.convert(math.nan, float), -math.nan)
    found = compared("a", None, changed(DONE, values=(one,)), changed(DONE, values=(other,)))
    assert [line.partition(":")[0] for line in found.differences] == ["result"]


def test_a_stack_that_overflows_elsewhere_is_excused():
    """Between engines only: where it overflows depends on them, and what was spent by then too."""
    elsewhere = changed(OVERFLOWN, engine="interpreter", fuel_used=200, stdout=b"xx")
    found = compared("a", None, OVERFLOWN, elsewhere)
    assert found.agrees
    assert "depends on the engine" in found.notes[0]
    assert not compared("a", None, OVERFLOWN, changed(elsewhere, engine="native")).agrees
    deeper = compared("a", None, OVERFLOWN, changed(DONE, engine="interpreter"))
    assert not deeper.agrees
    assert deeper.notes


def test_other_prices_and_engines_are_noted():
    """They explain a difference, and say nothing where there is none."""
    now = changed(DONE, prices=(2_000, 1), engine_version="wasmtime 60 r9")
    assert compared("a", None, DONE, now).notes == ()
    assert len(compared("a", None, DONE, changed(now, fuel_used=5)).notes) == 2


@pytest.fixture
def daemon(make_scheduler):
    """Return a function that gives a client of a scheduler."""

    def client(scheduler):
        return wasmq.Client("http://localhost", transport=httpx.ASGITransport(app=build_app(scheduler)), retry_for=0.0)

    return client


@pytest.mark.parametrize(
    ("guest", "export", "args", "limits"),
    [
        ("mul.wat", "mul", (2, 4), None),
        ("divide.wat", "divide", (1, 0), None),
        ("loop.wat", "spin", (), wasmq.Limits(fuel=10_000)),
        ("grow.wat", "grow_until_refused", (1,), wasmq.Limits(memory="1MiB")),
    ],
)
async def test_a_job_agrees_with_itself(make_scheduler, daemon, guests, guest, export, args, limits):
    """On its own engine as a job of the same tenant, with the same limits and cost; on the other beside the queue."""
    async with running(make_scheduler) as scheduler, daemon(scheduler) as client:
        module = await scheduler.load(guests / guest)
        job = await scheduler.submit(module, export, *args, limits=limits, tenant="acme", priority=3, key="k")
        outcome = await job
        found = await scheduler.replay(job.id)
        assert found.differences == ()
        assert found.then == outcome.receipt == found.now
        record = await scheduler.job(found.again)
        assert (record.tenant, record.job.priority, record.job.key) == ("acme", 3, None)
        assert (record.job.caps, record.outcome.fuel_used) == (
            (await scheduler.job(job.id)).job.caps,
            outcome.fuel_used,
        )
        spent = sample(scheduler, 'wasmq_fuel_consumed_total{tenant="acme"}')
        assert spent == 2 * outcome.fuel_used
        elsewhere = await scheduler.replay(job.id, engine="interpreter")
        assert (elsewhere.differences, elsewhere.again) == ((), None)
        assert (elsewhere.now.engine, elsewhere.now.fuel) == ("interpreter", outcome.fuel_used)
        assert sample(scheduler, 'wasmq_fuel_consumed_total{tenant="acme"}') == spent
        over_http = await client.replay(job.id)
        assert over_http.differences == ()
        assert over_http.now == found.now


async def test_programs_and_links_are_replayed(make_scheduler, daemon, guests):
    """With all that they were given, at the prices of then."""
    config = Config(prices=PricesConfig(call=777, byte=3))
    async with running(make_scheduler, config=config) as scheduler, daemon(scheduler) as client:
        hello = await scheduler.load(guests / "wasi" / "hello.wasm")
        offering = await scheduler.load(b'(module (func (export "f") (result i32) (i32.const 3)))')
        text = b'(module (import "env" "f" (func $f (result i32))) (func (export "g") (result i32) (call $f)))'
        jobs = [
            await scheduler.submit(hello, argv=["a b"], env={"B": "1", "A": "2"}, stdin=b"in\n", deterministic=True),
            await scheduler.submit(await scheduler.load(text), "g", link={"env": offering}),
        ]
        for job in jobs:
            then = await job
            assert then.receipt.prices == (777, 3)
            for found in (await scheduler.replay(job.id, engine="interpreter"), await client.replay(job.id)):
                assert found.differences == ()
                assert found.now.prices == (777, 3)


async def test_a_recursion_overflows_where_the_engine_says(make_scheduler):
    """What was spent by then may differ between engines, and agrees with what the other spent all the same."""
    async with running(make_scheduler) as scheduler:
        module = await scheduler.load(b'(module (func $f (export "f") (result i32) (i32.add (call $f) (i32.const 1))))')
        job = await scheduler.submit(module, "f")
        assert (await job).trap.code == "stack_overflow"
        assert (await scheduler.replay(job.id)).agrees
        found = await scheduler.replay(job.id, engine="interpreter")
        assert found.agrees
        assert "depends on the engine" in found.notes[0]


async def test_what_need_not_end_the_same_way_is_refused(make_scheduler, daemon, guests):
    """With the reason, by either surface, before anything is queued."""
    async with running(make_scheduler) as scheduler, daemon(scheduler) as client:
        loop = await scheduler.load(guests / "loop.wat")
        late = await scheduler.submit(loop, "spin", limits=wasmq.Limits(fuel=10**12, timeout=0.05))
        under_way = await scheduler.submit(loop, "spin", limits=ENDLESS)
        asking = await scheduler.submit(await scheduler.load(guests / "wasi" / "hello.wasm"))
        await late
        await asking
        await until_running(scheduler, under_way.id)
        known = len(await scheduler.jobs())
        for job, why in ((late, "by the clock"), (under_way, "has not ended"), (asking, "time and chance")):
            for surface in (scheduler, client):
                with pytest.raises(wasmq.NotDeterministic, match=f"job {job.id} cannot be replayed: .*{why}"):
                    await surface.replay(job.id)
        with pytest.raises(wasmq.UnknownJob):
            await client.replay("nothing")
        assert len(await scheduler.jobs()) == known
        await under_way.cancel()


async def test_a_replay_is_never_answered_by_another_run(make_scheduler, guests):
    """Also where the job itself was, or would be."""
    async with running(make_scheduler, tenants={"default": wasmq.Tenant(reuse="result")}) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        await scheduler.run(mul, "mul", 2, 4)
        job = await scheduler.submit(mul, "mul", 2, 4)
        then = await job
        found = await scheduler.replay(job.id)
        assert found.agrees
        assert (bool(then.reused), (await scheduler.job(found.again)).outcome.reused) == (True, None)
        assert (found.then.charged, found.now.charged) == (0, 4)


async def test_a_replay_keeps_to_the_limits_of_now(make_scheduler, guests):
    """What may not be asked for any more cannot be had that way either."""
    async with running(make_scheduler) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        job = await scheduler.submit(mul, "mul", 2, 4, limits=wasmq.Limits(fuel=10**12))
        await job
        limits = scheduler.config.limits
        lower = msgspec.structs.replace(limits, max=msgspec.structs.replace(limits.max, fuel=10**10))
        await scheduler.reload(msgspec.structs.replace(scheduler.config, limits=lower))
        with pytest.raises(wasmq.LimitTooHigh, match="fuel"):
            await scheduler.replay(job.id)


async def test_a_call_can_be_read_and_submitted_again(make_scheduler, guests):
    """`GET /v1/jobs/{id}/call` is a body of `POST /v1/jobs`, values and bytes exact."""
    async with running(make_scheduler) as scheduler:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app=build_app(scheduler)), base_url="http://localhost")
        async with http:
            values = await scheduler.load(guests / "values.wat")
            given = (2**32 - 1, -(2**63), math.inf, -0.0, bytes(range(16)))
            hello = await scheduler.load(guests / "wasi" / "hello.wasm")
            program = {"argv": ["x"], "env": {"A": "1"}, "stdin": b"\xff", "files": {"f": b"\0"}, "deterministic": True}
            for job in (await scheduler.submit(values, "all", *given), await scheduler.submit(hello, **program)):
                then = await job
                body = (await http.get(f"/v1/jobs/{job.id}/call")).json()
                again = (await http.post("/v1/jobs?wait=10", json=body)).json()
                assert again["outcome"]["receipt"]["digest"] == then.receipt.digest
            assert base64.b64decode(body["stdin"]) == b"\xff"
            assert (await http.get("/v1/jobs/nothing/call")).status_code == 404


async def test_bytes_of_a_module_are_for_who_administers(make_scheduler, daemon, config, guests):
    """Whoever may call a module need not have it."""
    tokens = {
        name: wasmq.Tenant(tokens=(f"sha256:{digest}",), roles=roles)
        for name, digest, roles in (
            ("acme", "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", ("submit", "observe")),
            ("root", "4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2", ("administer",)),
        )
    }
    config = msgspec.structs.replace(config, tenants=tokens)
    async with running(make_scheduler, config=config) as scheduler:
        transport = httpx.ASGITransport(app=build_app(scheduler))
        async with (
            wasmq.Client("http://localhost", token="secret", transport=transport) as acme,
            wasmq.Client("http://localhost", token="root", transport=transport) as root,
        ):
            mul = await acme.load(guests / "mul.wat")
            job = await acme.submit(mul, "mul", 2, 4)
            await job
            with pytest.raises(wasmq.Forbidden, match="administer"):
                await acme.wasm(mul.digest)
            assert len(await root.wasm(mul.digest)) == mul.size
            with pytest.raises(wasmq.UnknownModule):
                await root.wasm("0" * 64)
            assert (await acme.replay(job.id)).agrees
            other = await root.submit(mul, "mul", 2, 4, tenant="root")
            await other
            for ask in (acme.replay, acme.call):
                with pytest.raises(wasmq.UnknownJob):
                    await ask(other.id)
