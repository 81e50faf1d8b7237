"""Host functions and linked modules: each module of a job may call them, and what is linked comes before them."""

import pytest
from watching import running

import wasmq

# Adds what the host says to its argument; its start function has asked once before.
LIBRARY = """(module
  (import "env" "number" (func $number (result i32)))
  (global $base (mut i32) (i32.const 0))
  (func $start (global.set $base (call $number)))
  (func (export "add") (param i32) (result i32)
    (i32.add (i32.add (local.get 0) (global.get $base)) (call $number)))
  (start $start))"""
# Asks the host itself too.
MAIN = """(module
  (import "library" "add" (func $add (param i32) (result i32)))
  (import "env" "number" (func $number (result i32)))
  (func (export "sum") (result i32) (call $add (call $number))))"""
# What a module may put in the host's place.
STAND_IN = '(module (func (export "number") (result i32) (i32.const 5)))'
ASKS = """(module
  (import "env" "number" (func $number (result i32)))
  (func (export "ask") (result i32) (call $number)))"""


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_every_module_of_a_job_may_call(make_scheduler, engine):
    """While it is instantiated and when it is called; all their calls are the job's."""
    async with running(make_scheduler, engine=engine) as scheduler:
        numbers, seen = iter([100, 20, 3]), []

        @scheduler.host_function("env", "number", tenants=["acme"])
        async def number(call: wasmq.HostCall) -> int:
            seen.append(call.number)
            return next(numbers)

        library, main = await scheduler.load(LIBRARY), await scheduler.load(MAIN)
        options = {"link": {"library": library}, "tenant": "acme"}
        assert (await scheduler.run(main, "sum", **options)).value == 123
        assert seen == [1, 2, 3]
        outcome = await (await scheduler.submit(main, "sum", limits=wasmq.Limits(host_calls=1), **options))
        assert (outcome.status, outcome.trap.code) == ("trapped", "host")  # no more numbers
        with pytest.raises(
            wasmq.UnsatisfiedImport, match=rf"^module {library.digest[:12]}: the import env\.number is not"
        ):
            await scheduler.submit(main, "sum", link={"library": library})


async def test_what_is_linked_comes_before_what_the_host_offers(make_scheduler):
    """Nobody needs a grant for it, the host is never asked, and what the link lacks the host does not add."""
    async with running(make_scheduler) as scheduler:
        asks, stand_in = await scheduler.load(ASKS), await scheduler.load(STAND_IN)
        empty = await scheduler.load("(module)")
        assert (await scheduler.run(asks, "ask", link={"env": stand_in})).value == 5
        with pytest.raises(wasmq.UnsatisfiedImport, match="nobody offers"):
            await scheduler.submit(asks, "ask")
        # The same modules, when there is such a function after all.
        scheduler.host_function("env", "number", tenants="*", params=(), results=("i32",))(lambda: 7)
        assert (await scheduler.run(asks, "ask", link={"env": stand_in})).value == 5
        assert (await scheduler.run(asks, "ask")).value == 7
        with pytest.raises(wasmq.UnsatisfiedImport, match=r"does not export the import env\.number"):
            await scheduler.submit(asks, "ask", link={"env": empty})
