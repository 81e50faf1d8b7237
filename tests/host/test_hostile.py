"""A worker in a guest's hands: whatever it asks that no honest worker would ends it, and nothing is called."""

from contextlib import asynccontextmanager

import pytest
from watching import ENDLESS, running, until

import wasmq
from guests import caller
from wasmq_worker.protocol import ASK_WINDOW, Asked, Asks, ProtocolError, pack


@asynccontextmanager
async def scene(make_scheduler):
    """A scheduler with a job that spins in a worker, and functions one of which its module imports."""
    async with running(make_scheduler) as scheduler:
        called = []
        scheduler.host_function("env", "f", tenants="*", params=("i32", "bytes"), results=("str",))(
            lambda *arguments: called.append(arguments)
        )
        scheduler.host_function("env", "g", tenants="*", params=(), results=())(lambda: called.append(()))
        source = caller("f", "i32 i32 i32 i32 i32", "i32")
        module = await scheduler.load(source.rstrip()[:-1] + '(func (export "spin") (loop $l (br $l))))')
        limits = wasmq.Limits(fuel=ENDLESS.fuel, timeout=ENDLESS.timeout, host_calls=100)
        job = await scheduler.submit(module, "spin", limits=limits)
        await until(lambda: job.id in scheduler._pool._tickets)
        worker, ticket = scheduler._pool._tickets[job.id]
        yield scheduler, job, worker, ticket, called
        await job.cancel()


RIGHT = (7, b"key", 100)


@pytest.mark.parametrize(
    ("call", "function", "args", "message"),
    [
        (1, 1, (), "a call of host function 1, which the job does not import"),
        (1, 2, RIGHT, "a call of host function 2, which the job"),
        (1, -1, RIGHT, "a call of host function -1, which the job"),
        (0, 0, RIGHT, "host call 0 of ticket .* came after call 0"),
        (-1, 0, RIGHT, "host call -1 of ticket"),
        (101, 0, RIGHT, "host call 101 of ticket"),
        (1, 0, (), r"room of -1 bytes"),
        (1, 0, (7, b"key", -1), r"room of -1 bytes"),
        (1, 0, (7, b"key", b""), r"room of b'' bytes"),
        (1, 0, (7, 100), r"the arguments of env\.f are not i32, bytes"),
        (1, 0, (7, b"key", 1, 100), r"the arguments of env\.f are not"),
        (1, 0, (2**31, b"key", 100), r"the arguments of env\.f are not"),
        (1, 0, (7.0, b"key", 100), r"the arguments of env\.f are not"),
        (1, 0, (b"key", 7, 100), r"the arguments of env\.f are not"),
        (1, 0, (7, bytes(2**20 + 1), 100), "host calls of 1048577 bytes, 1048577 together"),
    ],
)
async def test_what_no_honest_worker_asks_breaks_the_protocol(make_scheduler, call, function, args, message):
    """A function that the module does not import, arguments that are none, calls out of turn or too many."""
    async with scene(make_scheduler) as (scheduler, _, worker, ticket, called):
        with pytest.raises(ProtocolError, match=message):
            scheduler._crew._overseer.said(worker, Asks([Asked(ticket, call, function, args)]))
        assert called == []


@pytest.mark.parametrize("ticket", [0, -1, 2, 2**63])
async def test_a_ticket_that_it_does_not_hold_breaks_the_protocol(make_scheduler, ticket):
    """Whoever may hold it."""
    async with scene(make_scheduler) as (scheduler, _, worker, _, called):
        with pytest.raises(ProtocolError, match=f"a host call came for ticket {ticket}, which it does not hold"):
            scheduler._crew._overseer.said(worker, Asks([Asked(ticket, 1, 0, RIGHT)]))
        assert called == []


async def test_a_guest_asks_one_thing_at_a_time(make_scheduler):
    """A second call before the first has its answer cannot be a guest's, nor the same call twice."""
    async with scene(make_scheduler) as (scheduler, _, worker, ticket, _):
        said = scheduler._crew._overseer.said
        with pytest.raises(ProtocolError, match=f"ticket {ticket} asks again before it has an answer"):
            said(worker, Asks([Asked(ticket, 1, 0, RIGHT), Asked(ticket, 2, 0, RIGHT)]))
        with pytest.raises(ProtocolError, match=f"host call 2 of ticket {ticket} came after call 2"):
            said(worker, Asks([Asked(ticket, 2, 0, RIGHT)]))


async def test_the_bytes_on_the_way_are_bounded(make_scheduler):
    """An honest worker keeps back what would be more; one that does not is ended."""
    async with scene(make_scheduler) as (scheduler, job, worker, ticket, _):
        calls = scheduler._crew._overseer._calls
        calls._most = ASK_WINDOW
        calls._bytes[worker] = ASK_WINDOW - 2
        with pytest.raises(ProtocolError, match=f"host calls of 3 bytes, {ASK_WINDOW + 1} together"):
            scheduler._crew._overseer.said(worker, Asks([Asked(ticket, 1, 0, RIGHT)]))
        assert job.outcome is None


async def test_such_a_worker_is_killed_and_its_jobs_run_again(make_scheduler):
    """In a new one, as after any death."""
    async with scene(make_scheduler) as (scheduler, job, worker, ticket, called):
        channel = scheduler._crew._workers[worker].channel
        frame = pack(Asks([Asked(ticket, 1, 1, ())]))
        channel.get_buffer(len(frame))[: len(frame)] = frame
        channel.buffer_updated(len(frame))
        await until(lambda: scheduler._pool._tickets.get(job.id, (worker, 0))[0] != worker)
        record = await scheduler.job(job.id)
        assert (record.state, record.job.attempt, called) == ("running", 2, [])
        restarts = 'wasmq_worker_restarts_total{reason="protocol"} 1.0'
        assert restarts in scheduler.metrics.render().decode().splitlines()
