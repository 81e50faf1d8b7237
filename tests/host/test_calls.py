"""Host functions from the guest to Python and back, with real workers: values, errors, prices, grants, threads."""

import asyncio
import contextvars
import logging
import threading

import anyio.from_thread
import msgspec
import pytest
from watching import running, sample

import wasmq
from guests import ECHO, REACTOR, TICKS, caller
from wasmq.config import HostConfig
from wasmq.errors import ConfigError


@pytest.fixture
def with_host(config):
    """The tests' configuration with a `[host]` section."""

    def make(**options):
        return msgspec.structs.replace(config, host=HostConfig(**options))

    return make


@pytest.mark.parametrize("engine", ["native", "interpreter"])
@pytest.mark.parametrize("way", ["coroutine", "thread", "inline"])
async def test_a_host_function_answers(make_scheduler, engine, way):
    """Whichever way it runs: typed arguments in, a typed result out; offered before the scheduler runs or after."""

    def plain(a: wasmq.i64, b: float) -> wasmq.f32:
        assert (type(a), type(b)) == (int, float)
        return a * b

    async def coroutine(a: wasmq.i64, b: float) -> wasmq.f32:
        return plain(a, b)

    function = coroutine if way == "coroutine" else plain
    options = {"tenants": "*", "inline": way == "inline"}
    scheduler = make_scheduler(engine=engine)
    assert scheduler.host_function("env", "before", **options)(function) is function
    async with asyncio.timeout(30), scheduler:
        scheduler.host_function("env", "after", **options)(function)
        for name in ("before", "after"):
            module = await scheduler.load(caller(name, "i64 f64", "f32"))
            assert (await scheduler.run(module, "call", -3, 0.5)).value == -1.5


@pytest.mark.parametrize("kind", [bytes, str])
async def test_bytes_and_text_go_through_the_guests_memory(make_scheduler, kind):
    """As much of the answer as there is room for is written, and its whole length is returned."""
    async with running(make_scheduler) as scheduler:

        @scheduler.host_function("env", "echo", tenants="*")
        async def echo(given: kind) -> kind:
            assert type(given) is kind
            return given + given[:1]

        module = await scheduler.load(ECHO)
        whole = "naïven".encode()
        for room in (0, 3, 100):
            length, start = (await scheduler.run(module, "echo", 6, room)).value
            assert (length, start.to_bytes(8, "little")) == (7, whole[:room].ljust(8, b"\0"))
        if kind is str:
            with pytest.raises(wasmq.Trapped, match=r"host function env\.echo argument 1 is not UTF-8"):
                await scheduler.run(module, "echo", 3, 0)


async def test_a_function_can_know_who_calls(make_scheduler):
    """The job, its tenant, the attempt and the number of the call in it."""
    async with running(make_scheduler) as scheduler:
        seen = []

        @scheduler.host_function("env", "tick", tenants=["acme"])
        async def tick(call: wasmq.HostCall) -> None:
            seen.append(call)

        job = await scheduler.submit(await scheduler.load(TICKS), "ticks", 2, tenant="acme")
        assert (await job).status == "succeeded"
        assert seen == [wasmq.HostCall(job=job.id, tenant="acme", attempt=1, number=number) for number in (1, 2)]


class Unwell(Exception):
    """An exception whose text cannot be had."""

    def __str__(self):
        raise ValueError


@pytest.mark.parametrize("way", ["coroutine", "thread", "inline"])
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (SystemExit(1), "SystemExit: 1"),
        (StopIteration(), "(StopIteration|RuntimeError: .*StopIteration)"),
        (Unwell(), r"Unwell: \(its text cannot be had\)"),
        (asyncio.CancelledError(), "CancelledError"),
        (ValueError("many words\n" * 1_000), "ValueError: many words many words .*…"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_an_exception_ends_that_job_alone(make_scheduler, caplog, way, error, line):
    """In one line, logged with its traceback; the neighbour that waits for the same function has its answer."""
    if way == "inline" and isinstance(error, asyncio.CancelledError):
        pytest.skip("nothing cancels a plain function on the loop")
    async with running(make_scheduler) as scheduler:
        entered = asyncio.Event()

        def plain(fail: int) -> int:
            if fail:
                raise error
            return 7

        async def coroutine(fail: int) -> int:
            if not fail:
                await entered.wait()
            return plain(fail)

        scheduler.host_function("env", "f", tenants="*", inline=way == "inline")(
            coroutine if way == "coroutine" else plain
        )
        module = await scheduler.load(caller("f", "i32", "i32"))
        neighbour = await scheduler.submit(module, "call", 0)
        outcome = await (await scheduler.submit(module, "call", 1))
        entered.set()
        assert (outcome.status, outcome.trap.code) == ("trapped", "host")
        assert outcome.error.isprintable()
        assert len(outcome.error) < 400
        with pytest.raises(wasmq.Trapped, match=rf"^trapped: host function env\.f raised {line}$"):
            raise wasmq.errors.error_for(outcome)
        assert (await neighbour).value == 7
    [record] = [record for record in caplog.records if "host.failed" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert record.exc_info[1].__traceback__ is not None
    assert "function=env.f" in record.getMessage()


@pytest.mark.parametrize("inline", [False, True])
async def test_a_wrong_result_ends_that_job_alone(make_scheduler, inline):
    """Named with what it was and what was wanted."""
    async with running(make_scheduler) as scheduler:
        answers = iter(["x", 7])

        @scheduler.host_function("env", "f", tenants="*", inline=inline)
        def f() -> int:
            return next(answers)

        module = await scheduler.load(caller("f", "", "i32"))
        with pytest.raises(wasmq.Trapped, match=r"^trapped: host function env\.f returned 'x' \(str\), wants i32$"):
            await scheduler.run(module, "call")
        assert (await scheduler.run(module, "call")).value == 7


@pytest.mark.parametrize("grant", ["function", "tenant", "set_tenant", "job", "nobody"])
async def test_only_who_was_granted_it_may_import_it(make_scheduler, grant):
    """Another tenant is refused before anything is queued, and told the way out."""
    tenants = {"acme": wasmq.Tenant(grant=("env.f",))} if grant == "tenant" else {}
    async with running(make_scheduler, tenants=tenants) as scheduler:

        @scheduler.host_function("env", "f", tenants=["acme"] if grant == "function" else [])
        async def f() -> int:
            return 7

        if grant == "set_tenant":
            await scheduler.set_tenant("acme", wasmq.Tenant(grant=("env.f",)))
        module = await scheduler.load(caller("f", "", "i32"))
        granted = {"grant": ["env.f"]} if grant == "job" else {}
        if grant != "nobody":
            assert (await scheduler.run(module, "call", tenant="acme", **granted)).value == 7
            outcomes = [outcome async for outcome in scheduler.map(module, "call", [()], tenant="acme", **granted)]
            assert [outcome.value for outcome in outcomes] == [7]
        for tenant in ("default", "other", *(["acme"] if grant == "nobody" else [])):
            with pytest.raises(wasmq.UnsatisfiedImport, match=rf"env\.f is not granted to tenant '{tenant}'"):
                await scheduler.submit(module, "mul", 2, 4, tenant=tenant)


async def test_the_price_is_exact(make_scheduler, config):
    """The configured one, or a function's own; the same on both engines."""
    spent = {}
    for engine in ("native", "interpreter"):
        async with running(make_scheduler, engine=engine) as scheduler:
            scheduler.host_function("env", "tick", tenants="*", params=(), results=())(lambda: None)
            scheduler.host_function("dear", "tick", tenants="*", params=(), results=(), price=123_456)(lambda: None)
            spent[engine] = [
                (await (await scheduler.submit(await scheduler.load(source), "call"))).fuel_used
                for source in (caller("tick"), caller("tick", module="dear"))
            ]
    assert spent["native"] == spent["interpreter"]
    assert spent["native"][1] - spent["native"][0] == 123_456 - config.prices.host


async def test_the_number_of_calls_is_bounded(make_scheduler):
    """By the job's limit, which has a ceiling, and by the function's own."""
    async with running(make_scheduler) as scheduler:
        called = []
        scheduler.host_function("env", "tick", tenants="*", params=(), results=())(lambda: called.append(1))
        module = await scheduler.load(TICKS)
        outcome = await (await scheduler.submit(module, "ticks", 9, limits=wasmq.Limits(host_calls=4)))
        assert (outcome.status, outcome.trap.code, len(called)) == ("trapped", "host_calls", 4)
        assert outcome.error == "trapped: host function env.tick: all 4 host calls are spent (limits.host_calls)"
        with pytest.raises(wasmq.LimitTooHigh, match=r"^host_calls: 1000001 is above the maximum of 1000000"):
            await scheduler.submit(module, "ticks", 1, limits=wasmq.Limits(host_calls=1_000_001))
        for wrong in (0, -1, 1.5, True):
            with pytest.raises(wasmq.InvalidLimit, match=r"^host_calls: "):
                await scheduler.submit(module, "ticks", 1, limits=wasmq.Limits(host_calls=wrong))


async def test_start_functions_and_initialisers_may_call(make_scheduler):
    """Before the export that was asked for."""
    async with running(make_scheduler) as scheduler:
        numbers = iter([30, 12])

        @scheduler.host_function("env", "number", tenants="*")
        async def number() -> int:
            return next(numbers)

        assert (await scheduler.run(await scheduler.load(REACTOR), "sum")).value == 42


async def test_a_plain_function_runs_in_a_thread_and_does_not_block_the_loop(make_scheduler):
    """It may wait for what only the loop can bring about."""
    async with running(make_scheduler) as scheduler:
        threads = []
        here, there = asyncio.Event(), threading.Event()

        @scheduler.host_function("env", "f", tenants="*")
        def f() -> int:
            threads.append(threading.current_thread())
            anyio.from_thread.run_sync(here.set)
            assert there.wait(30)
            return 7

        module = await scheduler.load(caller("f", "", "i32"))
        job = await scheduler.submit(module, "call")
        await here.wait()
        there.set()
        assert (await job).value == 7
        assert threads != [threading.main_thread()]


async def test_an_inline_function_runs_on_the_loops_thread(make_scheduler):
    """Which is what makes it the fastest."""
    async with running(make_scheduler) as scheduler:
        threads = []
        scheduler.host_function("env", "f", tenants="*", inline=True, params=(), results=())(
            lambda: threads.append(threading.current_thread())
        )
        await scheduler.run(await scheduler.load(caller("f")), "call")
        assert threads == [threading.current_thread()]


@pytest.mark.parametrize("way", ["coroutine", "thread"])
async def test_no_more_run_at_once_than_are_allowed(make_scheduler, with_host, way):
    """The others wait, and all have their turn."""
    config = with_host(concurrency=3, threads=3)
    async with running(make_scheduler, config=config) as scheduler:
        now, most, lock = 0, 0, threading.Lock()
        full, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def enter():
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
                if now == 3:
                    loop.call_soon_threadsafe(full.set)

        def leave():
            nonlocal now
            with lock:
                now -= 1

        def plain() -> None:
            enter()
            assert go_on.wait(30)
            leave()

        async def coroutine() -> None:
            enter()
            await full.wait()
            leave()

        scheduler.host_function("env", "f", tenants="*")(coroutine if way == "coroutine" else plain)
        module = await scheduler.load(caller("f"))
        jobs = [await scheduler.submit(module, "call") for _ in range(10)]
        await full.wait()
        go_on.set()
        assert {(await job).status for job in jobs} == {"succeeded"}
        assert (now, most) == (0, 3)


async def test_calls_share_no_context(make_scheduler):
    """What one call sets in a context variable, no other sees."""
    variable = contextvars.ContextVar("variable", default=0)
    async with running(make_scheduler) as scheduler:

        @scheduler.host_function("env", "f", tenants="*")
        async def f() -> int:
            before = variable.get()
            variable.set(7)
            return before

        module = await scheduler.load(caller("f", "", "i32"))
        assert [outcome.value async for outcome in scheduler.map(module, "call", [()] * 5)] == [0] * 5


async def test_calls_are_counted_and_timed(make_scheduler):
    """By function, whether they were answered well or not."""
    async with running(make_scheduler) as scheduler:
        scheduler.host_function("env", "tick", tenants="*", params=(), results=())(lambda: None)
        await scheduler.run(await scheduler.load(TICKS), "ticks", 5)
        assert sample(scheduler, 'wasmq_host_calls_total{function="env.tick"}') == 5
        assert sample(scheduler, "wasmq_host_call_seconds_count") == 5


async def test_a_configured_function_is_offered(make_scheduler, with_host, tmp_path, monkeypatch):
    """By its import path; a path that leads nowhere keeps the scheduler from being made."""
    (tmp_path / "test_host_offered.py").write_text("async def answer() -> int:\n    return 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = with_host(functions={"env.answer": "test_host_offered:answer"})
    tenants = {"acme": wasmq.Tenant(grant=("env.answer",))}
    async with running(make_scheduler, config=config, tenants=tenants) as scheduler:
        module = await scheduler.load(caller("answer", "", "i32"))
        assert (await scheduler.run(module, "call", tenant="acme")).value == 42
        with pytest.raises(wasmq.UnsatisfiedImport):
            await scheduler.submit(module, "call")
    with pytest.raises(
        ConfigError, match=r'^host\.functions\."env\.x": test_host_offered:x: test_host_offered has no x$'
    ):
        make_scheduler(config=with_host(functions={"env.x": "test_host_offered:x"}))
