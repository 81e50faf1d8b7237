"""Dead letters: a job that was lost is queued again as a new one, and nothing else is."""

from __future__ import annotations

import os
import signal

import httpx
import pytest

import wasmq
from wasmq.job import Call, Caps, Job, Outcome, Program
from wasmq.requeue import again
from wasmq.server import build_app
from wasmq.store import JobRecord

JOB = Job(
    id="a",
    call=Call("f" * 64, "run", (1, 2.5, bytes(16)), Program(argv=("x",), stdin=b"in", dirs={"d": "ro"})),
    caps=Caps(10, 20, 3.0, 40, 50),
    tenant="acme",
    priority=7,
    key="mine",
    submitted_at=1.0,
    due=2.0,
    order=3.0,
    cost=4.0,
)


def record(outcome):
    return JobRecord(JOB, "finished" if outcome else "running", 1, outcome)


def test_what_was_lost_is_asked_for_again():
    """The call, the world, the limits, the tenant and the priority are those of the lost job; the key is its own."""
    request = again(record(Outcome(status="lost")))
    assert (request.module, request.export, request.args) == (JOB.call.module, "run", JOB.call.args)
    assert (request.tenant, request.priority, request.delay) == ("acme", 7, 0.0)
    assert request.key == "requeue a"
    limits = request.limits
    assert (limits.fuel, limits.memory, limits.timeout, limits.output, limits.files) == (10, 20, 3.0, 40, 50)
    assert request.program["argv"] == ("x",)
    assert request.program["dirs"] == {"d": "ro"}


@pytest.mark.parametrize("outcome", [None, Outcome(status="succeeded"), Outcome(status="trapped")])
def test_what_has_its_answer_is_not(outcome):
    """A trap or a spent limit is a job's answer, and one that runs will have its own."""
    with pytest.raises(wasmq.NotLost, match="job a is"):
        again(record(outcome))


async def test_a_dead_letter_runs_in_the_end(make_scheduler, guests):
    """A job whose worker was killed in its only attempt is lost; requeued it is a new job, however often it is asked
    for, by either surface."""
    async with make_scheduler(max_attempts=1) as scheduler:
        transport = httpx.ASGITransport(app=build_app(scheduler))
        async with wasmq.Client("http://localhost", transport=transport) as client:
            module = await scheduler.load(guests / "loop.wat")
            job = await scheduler.submit(module, "spin", limits=wasmq.Limits(fuel=2 * 10**8, timeout=60), tenant="acme")
            async for event in job.events():
                if isinstance(event, wasmq.JobStarted):
                    worker, _, _ = scheduler._pool.where(job.id)
                    os.kill(scheduler._crew._workers[worker].child.pid, signal.SIGKILL)
            assert (await job).status == "lost"
            new = await client.requeue(job.id)
            assert new.id != job.id
            assert (await scheduler.requeue(job.id)).id == new.id
            assert (await new).status == "out_of_fuel"
            assert (await client.job(new.id)).tenant == "acme"
            with pytest.raises(wasmq.NotLost):
                await client.requeue(new.id)


COMPONENT = """(component
  (core module $m (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))
  (core instance $i (instantiate $m))
  (func (export "f") (param "x" u32) (result u32) (canon lift (core func $i "f"))))"""
LIBRARY = '(module (func (export "f") (result i32) (i32.const 7)))'
LINKED = '(module (import "lib" "f" (func $f (result i32))) (func (export "g") (result i32) (call $f)))'


@pytest.mark.parametrize("store", ["memory://", "sqlite:///{}/jobs.db"])
async def test_every_kind_of_call_can_be_asked_for_again(make_scheduler, store, tmp_path):
    """A component's, a linked one and one with a grant of its own give the answer that they gave, from the record."""
    async with make_scheduler(store=store.format(tmp_path)) as scheduler:

        @scheduler.host_function("lib", "f", tenants=[])
        def f() -> int:
            return 9

        component, linked = await scheduler.load(COMPONENT), await scheduler.load(LINKED)
        library = await scheduler.load(LIBRARY)
        for expected, job in (
            (42, await scheduler.submit(component, "f", 41)),
            (7, await scheduler.submit(linked, "g", link={"lib": library})),
            (9, await scheduler.submit(linked, "g", grant=["lib.f"])),
        ):
            assert (await job).value == expected
            known = await scheduler.job(job.id)
            lost = JobRecord(known.job, "finished", 1, Outcome(status="lost"))
            (new,) = await scheduler.submit_many([again(lost)])
            assert new.id != job.id
            assert (await new).value == expected


async def test_only_who_administers_grants_over_http(make_scheduler):
    """Without tokens anybody may; the client hands the grant on, to `map` as to `run`."""
    async with make_scheduler() as scheduler:

        @scheduler.host_function("lib", "f", tenants=[])
        def f() -> int:
            return 9

        transport = httpx.ASGITransport(app=build_app(scheduler))
        async with wasmq.Client("http://localhost", transport=transport) as client:
            module = await client.load(LINKED.encode())
            assert (await client.run(module, "g", grant=["lib.f"])).value == 9
            assert [each.value async for each in client.map(module, "g", [(), ()], grant=["lib.f"])] == [9, 9]
            with pytest.raises(wasmq.UnsatisfiedImport, match="not granted"):
                await client.run(module, "g")
