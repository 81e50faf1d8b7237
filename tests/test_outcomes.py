"""How jobs end: every status, every trap, by guests that really do it."""

import pytest
from watching import running, sample, workers

import wasmq


@pytest.mark.parametrize("engine", ["native", "interpreter"])
@pytest.mark.parametrize(
    ("guest", "export", "args", "limits", "error", "words"),
    [
        ("traps.wat", "unreachable", (), {}, wasmq.Trapped, "trapped: .*unreachable"),
        ("recursion.wat", "dive", (), {}, wasmq.Trapped, "trapped: .*stack"),
        ("loop.wat", "spin", (), {"fuel": 100_000}, wasmq.OutOfFuel, "out of fuel: spent all 100000 units"),
        ("loop.wat", "spin", (), {"fuel": 10**12, "timeout": 0.1}, wasmq.TimedOut, "timed out: .* longer than 0.1 s"),
        ("grow.wat", "grow_until_refused", (16,), {"memory": "4MiB"}, wasmq.OutOfMemory, "out of memory: .*4194304"),
        ("grow.wat", "grow", (1,), {"memory": 1_000}, wasmq.OutOfMemory, "out of memory: .*65536.*1000"),
    ],
)
async def test_every_way_to_fail(make_scheduler, guests, engine, guest, export, args, limits, error, words):
    """Each raises its own error with one line for people, on both engines, and the worker goes on."""
    async with running(make_scheduler, engine=engine) as scheduler:
        module = await scheduler.load(guests / guest)
        with pytest.raises(error, match=words) as caught:
            await scheduler.run(module, export, *args, limits=wasmq.Limits(**limits))
        outcome = caught.value.outcome
        assert type(wasmq.errors.error_for(outcome)) is error
        assert "\n" not in outcome.error
        assert outcome.values == ()
        assert outcome.fuel_used <= limits.get("fuel", 10**9)
        assert outcome.memory_peak <= 4 * 2**20
        assert (outcome.attempts, outcome.engine) == (1, engine)
        mul = await scheduler.load(guests / "mul.wat")
        assert await scheduler.run(mul, "mul", 2, 4)
        assert len(workers()) == 1
        assert sample(scheduler, f'wasmq_jobs_finished_total{{status="{outcome.status}",tenant="default"}}') == 1.0


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_every_trap_has_its_code(make_scheduler, guests, engine):
    """All the ways of core WebAssembly to trap, each with a stable code and where it happened."""
    codes = {
        "unreachable": "unreachable",
        "memory_out_of_bounds": "memory_out_of_bounds",
        "table_out_of_bounds": "table_out_of_bounds",
        "indirect_call_to_null": "indirect_call_to_null",
        "bad_signature": "indirect_call_type_mismatch",
        "integer_division_by_zero": "integer_divide_by_zero",
        "integer_overflow": "integer_overflow",
        "bad_conversion_to_integer": "invalid_conversion_to_integer",
        "stack_overflow": "stack_overflow",
    }
    async with running(make_scheduler, engine=engine) as scheduler:
        traps = await scheduler.load(guests / "traps.wat")
        found = {}
        for export in codes:
            outcome = await (await scheduler.submit(traps, export))
            assert outcome.status == "trapped"
            assert outcome.trap.backtrace
            found[export] = outcome.trap.code
        assert found == codes


async def test_a_guest_that_copes_with_a_refused_growth_succeeds(make_scheduler, guests):
    """Over its cap `memory.grow` answers -1, and the guest decides what comes of it."""
    async with running(make_scheduler) as scheduler:
        grow = await scheduler.load(guests / "grow.wat")
        outcome = await scheduler.run(grow, "grow", 1000, limits=wasmq.Limits(memory="4MiB"))
        assert (outcome.value, outcome.memory_peak) == (-1, 65_536)


async def test_a_program_compiled_from_c(make_scheduler, guests):
    """A guest with a memory that grows, the same answer on both engines."""
    outcomes = []
    for engine in ("native", "interpreter"):
        async with running(make_scheduler, engine=engine) as scheduler:
            life = await scheduler.load(guests / "life.wasm")
            outcomes.append(await scheduler.run(life, "life", 32, 32, 10, 1))
    assert outcomes[0].value == outcomes[1].value > 0
    assert outcomes[0].fuel_used == outcomes[1].fuel_used
    assert outcomes[0].memory_peak == outcomes[1].memory_peak
