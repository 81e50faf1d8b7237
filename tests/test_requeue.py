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
