"""One surface, two ways to it: the same tests over the scheduler itself and over HTTP to it."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import httpx
import pytest

import wasmq
from wasmq.server import build_app

SPIN = wasmq.Limits(fuel=10**12, timeout=60)


@pytest.fixture(params=["scheduler", "client"])
def entered(request, make_scheduler):
    """Return a context manager: the scheduler, or a client of a daemon over it."""

    # Entered in the test's own task, because a scheduler must end in the task that started it.
    @asynccontextmanager
    async def entered():
        async with make_scheduler() as scheduler:
            if request.param == "scheduler":
                yield scheduler
                return
            transport = httpx.ASGITransport(app=build_app(scheduler))
            async with wasmq.Client("http://localhost", transport=transport, retry_for=0.0) as client:
                yield client

    return entered


async def test_a_module_says_what_it_offers(entered, guests):
    """A loaded module has its digest, its exports and their types."""
    async with entered() as queue:
        module = await queue.load(guests / "mul.wat")
        assert (module.kind, len(module.digest), module.size) == ("module", 64, 59)
        assert module.function("mul").params == ("i32", "i32")
        assert [str(each) for each in module.exports] == ['(export "mul" (func (param i32 i32) (result i32)))']
        assert module.imports == ()
        with pytest.raises(wasmq.UnknownExport, match="no export 'div'; the module's functions: mul"):
            module.function("div")


async def test_a_program_says_what_it_needs(entered, guests):
    """Imports are there with their types, and those that WASI satisfies by name."""
    async with entered() as queue:
        module = await queue.load(guests / "wasi" / "hello.wasm")
        assert "fd_write" in module.wasi
        assert str(module.imports[0]).startswith('(import "wasi_snapshot_preview1" ')


async def test_run_returns_the_outcome(entered, guests):
    """`run` submits and waits; the bill is exact."""
    async with entered() as queue:
        module = await queue.load(guests / "mul.wat")
        outcome = await queue.run(module, "mul", 2, 4)
        assert (outcome.status, outcome.value, outcome.fuel_used, outcome.attempts) == ("succeeded", 8, 4, 1)
        assert (await queue.run(module.digest, "mul", -3, 5)).value == -15


async def test_values_go_both_ways_exactly(entered, guests):
    """Values of every type come back as they were given, at the ends of their ranges and where JSON has no number."""
    async with entered() as queue:
        module = await queue.load(guests / "values.wat")
        vector = bytes(range(16))
        outcome = await queue.run(module, "all", 2**32 - 1, -(2**63), math.inf, math.nan, vector)
        v128, f64, f32, i64, i32 = outcome.value
        assert (v128, f32, i64, i32) == (vector, math.inf, -(2**63), -1)
        assert math.isnan(f64)
        for value in (2**63 - 1, -(2**63), 2**64 - 1):
            assert (await queue.run(module, "i64", value)).value in (value, value - 2**64)
        for value in (0.1, -0.0, 5e-324, 1.7976931348623157e308, 3):
            came = (await queue.run(module, "f64", value)).value
            assert (came, math.copysign(1, came), type(came)) == (value, math.copysign(1, value), float)


@pytest.mark.parametrize(
    ("guest", "export", "args", "limits", "error", "status"),
    [
        ("divide.wat", "divide", (1, 0), None, wasmq.Trapped, "trapped"),
        ("loop.wat", "spin", (), wasmq.Limits(fuel=10_000), wasmq.OutOfFuel, "out_of_fuel"),
        ("loop.wat", "spin", (), wasmq.Limits(fuel=10**12, timeout=0.1), wasmq.TimedOut, "timed_out"),
        (
            "grow.wat",
            "grow_until_refused",
            (1,),
            wasmq.Limits(memory="1MiB", fuel=10**10),
            wasmq.OutOfMemory,
            "out_of_memory",
        ),
    ],
)
async def test_run_raises_what_fits_the_outcome(entered, guests, guest, export, args, limits, error, status):
    """A job that did not succeed raises its own `JobError`, with the outcome on it."""
    async with entered() as queue:
        module = await queue.load(guests / guest)
        with pytest.raises(error) as raised:
            await queue.run(module, export, *args, limits=limits)
        outcome = raised.value.outcome
        assert (outcome.status, str(raised.value)) == (status, outcome.error)
        if status == "trapped":
            assert outcome.trap.code == "integer_divide_by_zero"
            assert outcome.trap.backtrace


@pytest.mark.parametrize(
    ("args", "options", "error"),
    [
        (("mul", 1), {}, wasmq.InvalidArguments),
        (("mul", 1, "2"), {}, wasmq.InvalidArguments),
        (("mul", 1, 2.5), {}, wasmq.InvalidArguments),
        (("mul", 1, True), {}, wasmq.InvalidArguments),
        (("mul", 1, None), {}, wasmq.InvalidArguments),
        (("mul", 1, 2**70), {}, wasmq.InvalidArguments),
        (("mul", 1, 2**32), {}, wasmq.InvalidArguments),
        (("div", 1, 2), {}, wasmq.UnknownExport),
        (("mul", 1, 2), {"limits": wasmq.Limits(fuel=10**15)}, wasmq.LimitTooHigh),
        (("mul", 1, 2), {"limits": wasmq.Limits(fuel=0)}, wasmq.InvalidLimit),
        (("mul", 1, 2), {"limits": wasmq.Limits(memory="lots")}, wasmq.InvalidLimit),
        (("mul", 1, 2), {"tenant": "a\nb"}, wasmq.InvalidArguments),
        (("mul", 1, 2), {"stdin": "text"}, wasmq.InvalidArguments),
        (("mul", 1, 2), {"files": {"../x": b""}}, wasmq.InvalidArguments),
    ],
)
async def test_what_cannot_be_is_refused_alike(entered, guests, args, options, error):
    """A call that cannot be is refused by the same error, before anything is queued."""
    async with entered() as queue:
        module = await queue.load(guests / "mul.wat")
        with pytest.raises(wasmq.WasmqError) as raised:
            await queue.submit(module, *args, **options)
        assert type(raised.value) is error
        assert await queue.jobs() == []


async def test_what_is_not_there_is_unknown(entered, guests, tmp_path):
    """Unknown modules, jobs and files, and files that are no modules, have an error each."""
    async with entered() as queue:
        with pytest.raises(wasmq.UnknownModule):
            await queue.submit("0" * 64, "mul", 1, 2)
        for ask in (queue.job, queue.wait, queue.cancel, queue.requeue):
            with pytest.raises(wasmq.UnknownJob):
                await ask("nobody")
        with pytest.raises(wasmq.UnknownJob):
            await anext(queue.events("nobody"))
        with pytest.raises(wasmq.UnknownJob):
            await queue.jobs(after="nobody")
        with pytest.raises(FileNotFoundError):
            await queue.load(tmp_path / "none.wasm")
        (tmp_path / "bad.wasm").write_bytes(b"\0asm\1\0\0\0junk")
        with pytest.raises(wasmq.InvalidModule, match=r"bad\.wasm"):
            await queue.load(tmp_path / "bad.wasm")


async def test_a_suspended_job_is_refuelled(entered, guests):
    """A job that has spent its fuel is told of, goes on for the same bill, and once ended cannot be refuelled."""
    async with entered() as queue:
        module = await queue.load(guests / "loop.wat")
        limits = wasmq.Limits(fuel=1_000, suspend=50.0)
        job = await queue.submit(module, "burn", 5_000, limits=limits, on_exhausted="suspend")
        while not (known := await queue.job(job.id)).suspended:
            await anyio.lowlevel.checkpoint()
        assert (known.state, known.fuel_spent) == ("running", 1_000)
        assert [each.suspended for each in await queue.jobs()] == [True]
        assert await queue.refuel(job.id, 2_000) == 3_000
        assert await job.refuel(20_000) == 23_000
        outcome = await job
        assert (outcome.status, outcome.fuel_used) == ("succeeded", (await queue.run(module, "burn", 5_000)).fuel_used)
        for ask, error in (
            (job.refuel(1), wasmq.NotRefuellable),
            (job.refuel(0), wasmq.NotRefuellable),
            (queue.refuel("nobody", 1), wasmq.UnknownJob),
        ):
            with pytest.raises(error):
                await ask


async def test_a_key_is_one_job(entered, guests):
    """The same key and call again is the same job, and with another call it is refused."""
    async with entered() as queue:
        module = await queue.load(guests / "mul.wat")
        first = await queue.submit(module, "mul", 2, 4, key="once")
        assert (await first).value == 8
        again = await queue.submit(module, "mul", 2, 4, key="once")
        assert again.id == first.id
        assert (await again).value == 8
        with pytest.raises(wasmq.KeyConflict):
            await queue.submit(module, "mul", 2, 5, key="once")
        other = await queue.submit(module, "mul", 2, 4, key="once", tenant="acme")
        assert other.id != first.id


async def test_a_job_is_known_while_it_runs_and_after(entered, guests):
    """`job` says how it stands, `wait` gives up in time, `cancel` says whether it came in time."""
    async with entered() as queue:
        module = await queue.load(guests / "loop.wat")
        handle = await queue.submit(module, "spin", limits=SPIN, tenant="acme", priority=3)
        job = await queue.wait(handle.id, timeout=0.05)
        assert (job.id, job.tenant, job.module, job.export) == (handle.id, "acme", module.digest, "spin")
        assert job.state in ("queued", "running")
        assert job.outcome is None
        assert await handle.cancel()
        assert (await handle).status == "cancelled"
        assert not await handle.cancel()
        job = await queue.job(handle.id)
        assert (job.state, job.outcome.status) == ("finished", "cancelled")
        assert job.submitted_at > 1_600_000_000


async def test_who_gives_up_running_cancels(entered, guests):
    """When the task that waits in `run` is cancelled, so is its job."""
    async with entered() as queue:
        module = await queue.load(guests / "loop.wat")
        with anyio.move_on_after(0.3):
            await queue.run(module, "spin", limits=SPIN)
        (job,) = await queue.jobs()
        assert (await queue.wait(job.id, 10)).outcome.status == "cancelled"


async def test_jobs_are_listed_newest_first(entered, guests):
    """Pages follow each other, and can be narrowed to a tenant or a status."""
    async with entered() as queue:
        module = await queue.load(guests / "mul.wat")
        handles = [await queue.submit(module, "mul", n, n, tenant="ab"[n % 2]) for n in range(6)]
        for handle in handles:
            await handle
        newest = [handle.id for handle in reversed(handles)]
        assert [job.id for job in await queue.jobs()] == newest
        assert [job.id for job in await queue.jobs(limit=2, after=newest[1])] == newest[2:4]
        assert [job.id for job in await queue.jobs(tenant="a")] == newest[1::2]
        assert await queue.jobs(status="trapped") == []
        assert len(await queue.jobs(status="succeeded")) == 6


async def test_map_keeps_the_order(entered, guests):
    """Outcomes come in the order of the calls, those that failed among them."""
    async with entered() as queue:
        module = await queue.load(guests / "divide.wat")
        calls = [(n, n % 3) for n in range(700)]
        outcomes = [outcome async for outcome in queue.map(module, "divide", calls)]
        assert [outcome.value for outcome in outcomes] == [None if not d else n // d for n, d in calls]
        assert {outcome.status for outcome in outcomes} == {"succeeded", "trapped"}


async def test_a_map_that_is_given_up_cancels(entered, guests):
    """Calls of a `map` that nobody listens to any more are cancelled."""
    async with entered() as queue:
        module = await queue.load(guests / "loop.wat")
        outcomes = queue.map(module, "spin", [()] * 5, limits=wasmq.Limits(fuel=10**12, timeout=0.3))
        assert (await anext(outcomes)).status == "timed_out"
        await outcomes.aclose()
        for job in await queue.jobs():
            assert (await queue.wait(job.id, 10)).outcome is not None


async def test_many_at_once_are_all_or_none(entered, guests):
    """A batch with one job that cannot be queues nothing; a good one keeps its order."""
    async with entered() as queue:
        module = await queue.load(guests / "mul.wat")
        good = wasmq.Request(module=module.digest, export="mul", args=(3, 4))
        bad = wasmq.Request(module=module.digest, export="mul", args=(3, 2**40))
        with pytest.raises(wasmq.InvalidArguments):
            await queue.submit_many([good, bad])
        assert await queue.jobs() == []
        assert [(await handle).value for handle in await queue.submit_many([good] * 3)] == [12, 12, 12]
        assert await queue.submit_many([]) == []


async def test_a_program_gets_its_world(entered, guests):
    """Arguments, environment, input and files go in, output, exit code and files come back."""
    async with entered() as queue:
        hello = await queue.load(guests / "wasi" / "hello.wasm")
        with pytest.raises(wasmq.Exited) as raised:
            await queue.run(hello, argv=["-n"], env={"NAME": "x"}, stdin=b"abc", name="hello")
        outcome = raised.value.outcome
        assert (outcome.exit_code, outcome.stderr) == (2, b"done\n")
        assert outcome.stdout.splitlines() == [b"argument 0: hello", b"argument 1: -n", b"NAME=x", b"ABC"]
        files = await queue.load(guests / "wasi" / "files.wasm")
        outcome = await queue.run(files, files={"in.txt": b"a b"}, collect=["out.txt"])
        assert outcome.files == {"out.txt": b"b a"}


async def test_events_tell_the_whole_story(entered, guests):
    """A job's events lead from its present state to its end; its output comes in pieces that make up the whole."""
    async with entered() as queue:
        hello = await queue.load(guests / "wasi" / "hello.wasm")
        handle = await queue.submit(hello, stdin=bytes(range(256)) * 100)
        events = [event async for event in handle.events()]
        assert isinstance(events[-1], wasmq.JobFinished)
        outcome = events[-1].outcome
        for stream in ("stdout", "stderr"):
            pieces = [each for each in events if isinstance(each, wasmq.JobOutput) and each.stream == stream]
            assert b"".join(piece.data for piece in pieces) == getattr(outcome, stream)
        assert outcome == (await handle)
        again = [event async for event in handle.events()]
        assert again[-1] == events[-1]


async def test_tenants_are_set_and_listed(entered):
    """A tenant's share is set from outside."""
    async with entered() as queue:
        await queue.set_tenant("acme", wasmq.Tenant(weight=2.5, max_queued=10))
        tenants = queue.tenants()
        if not isinstance(tenants, dict):
            tenants = await tenants
        assert tenants == {"acme": wasmq.Tenant(weight=2.5, max_queued=10)}


async def test_a_full_queue_is_refused_or_waited_for(entered, guests):
    """Without `wait` a full queue is `QueueFull`."""
    async with entered() as queue:
        module = await queue.load(guests / "loop.wat")
        await queue.set_tenant("small", wasmq.Tenant(max_queued=1))
        first = await queue.submit(module, "spin", limits=SPIN, tenant="small", delay=60)
        with pytest.raises(wasmq.QueueFull):
            await queue.submit(module, "spin", limits=SPIN, tenant="small", delay=60, wait=False)
        assert await first.cancel()
