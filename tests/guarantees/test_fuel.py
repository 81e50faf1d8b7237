"""Promise 5: `fuel_used` is exact, equal on every engine, and never more than the cap.

One case is left out of the comparison: a stack that overflows. How deep a guest may call depends on the size of the
engine's own frames, so how much it has spent by then does too; everything else is counted in the guest's instructions.
"""

import asyncio

import pytest
from watching import running

import wasmq

VECTOR = bytes(range(16))
CALLS = [
    ("mul.wat", "mul", (2, 4)),
    ("fib.wat", "fib", (0,)),
    ("fib.wat", "fib", (20,)),
    ("loop.wat", "burn", (0,)),
    ("loop.wat", "burn", (1_000_000,)),
    ("loop.wat", "spin", ()),
    ("grow.wat", "grow", (3,)),
    ("grow.wat", "grow", (100_000,)),
    ("grow.wat", "grow_until_refused", (16,)),
    ("divide.wat", "divide", (42, 5)),
    ("divide.wat", "divide", (42, 0)),
    ("values.wat", "divmod", (42, 5)),
    ("values.wat", "i32", (1,)),
    ("values.wat", "i64", (1,)),
    ("values.wat", "f32", (0.5,)),
    ("values.wat", "f64", (0.5,)),
    ("values.wat", "v128", (VECTOR,)),
    ("values.wat", "all", (1, 2, 0.5, 0.25, VECTOR)),
    ("start.wat", "get", ()),
    ("traps.wat", "unreachable", ()),
    ("traps.wat", "memory_out_of_bounds", ()),
    ("traps.wat", "table_out_of_bounds", ()),
    ("traps.wat", "indirect_call_to_null", ()),
    ("traps.wat", "bad_signature", ()),
    ("traps.wat", "integer_division_by_zero", ()),
    ("traps.wat", "integer_overflow", ()),
    ("traps.wat", "bad_conversion_to_integer", ()),
    ("life.wasm", "life", (24, 24, 10, 1)),
    ("life.wasm", "life", (0, 0, 0, 0)),
]
DEEP = {("recursion.wat", "dive"), ("traps.wat", "stack_overflow")}
FUEL = 2_000_000


async def outcomes_on(make_scheduler, guests, calls, *, fuel=FUEL, **options):
    """What became of each call: (status, values, fuel, memory, trap's code)."""
    async with running(make_scheduler, **options) as scheduler:
        modules = {guest: await scheduler.load(guests / guest) for guest in {guest for guest, _, _ in calls}}
        limits = wasmq.Limits(fuel=fuel, memory="4MiB", timeout=60.0)
        handles = [
            await scheduler.submit(modules[guest], export, *args, limits=limits) for guest, export, args in calls
        ]
        return [
            (outcome.status, outcome.values, outcome.fuel_used, outcome.memory_peak, outcome.trap and outcome.trap.code)
            for outcome in await asyncio.gather(*handles)
        ]


async def test_every_guest_is_called(make_scheduler, guests):
    """The calls above leave out no function of any guest but the two that only recurse."""
    async with running(make_scheduler) as scheduler:
        functions = set()
        for path in [*guests.glob("*.wat"), *guests.glob("*.wasm")]:
            module = await scheduler.load(path)
            functions |= {(path.name, name) for name in module.functions if not module.imports}
    assert functions == {(guest, export) for guest, export, _ in CALLS} | DEEP


async def test_the_same_call_costs_the_same_on_every_engine(make_scheduler, guests):
    """Status, values, fuel, memory and trap of each call agree to the unit, however it is cut into turns."""
    native = await outcomes_on(make_scheduler, guests, CALLS, engine="native")
    for options in (
        {"engine": "interpreter"},
        {"engine": "native", "quantum": 1_000},
        {"engine": "interpreter", "quantum": 7_777},
        {"engine": "native", "workers": 2, "instances": 2},
    ):
        others = await outcomes_on(make_scheduler, guests, CALLS, **options)
        for call, one, other in zip(CALLS, native, others, strict=True):
            assert one == other, (call, options)


async def test_what_calls_cost_is_known(make_scheduler, guests):
    """The prices that the guests' own comments give, counted by hand."""
    calls = [("mul.wat", "mul", (2, 4)), ("fib.wat", "fib", (20,))]
    outcomes = await outcomes_on(make_scheduler, guests, calls)
    assert [fuel for _, _, fuel, _, _ in outcomes] == [4, 218_906]


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_no_job_is_charged_more_than_its_cap(make_scheduler, guests, engine):
    """Whatever the cap, the bill stays within it; a job that had too little is out of fuel and has spent it all."""
    price = 218_906
    async with running(make_scheduler, engine=engine) as scheduler:
        fib = await scheduler.load(guests / "fib.wat")

        async def outcome_of(fuel):
            return await (await scheduler.submit(fib, "fib", 20, limits=wasmq.Limits(fuel=fuel, timeout=60.0)))

        caps = [1, 2, 3, 13, 14, 99_999, 100_000, 100_001, price // 2, price - 100, price, price + 1, 10 * price]
        for fuel in caps:
            outcome = await outcome_of(fuel)
            assert outcome.fuel_used == min(fuel, price)
            if fuel < price - 50:
                assert outcome.status == "out_of_fuel"
            if fuel >= price:
                assert (outcome.status, outcome.value) == ("succeeded", 6_765)


async def test_running_beside_others_costs_nothing(make_scheduler, guests):
    """A call's price is the same alone and among two hundred that are pre-empted in turns."""
    calls = [("fib.wat", "fib", (18,)), ("loop.wat", "burn", (300_000,)), ("life.wasm", "life", (8, 8, 8, 8))]
    alone = [(await outcomes_on(make_scheduler, guests, [call]))[0] for call in calls]
    crowd = await outcomes_on(make_scheduler, guests, calls * 60, quantum=5_000)
    assert crowd == alone * 60


@pytest.mark.parametrize("engine", ["native", "interpreter"])
async def test_deep_recursion_stays_within_its_cap(make_scheduler, guests, engine):
    """Where engines differ in how far they get, both stop: by the stack, or by fuel when that is spent first."""
    deep = [(guest, export, ()) for guest, export in sorted(DEEP)]
    for status, values, fuel, _, _ in await outcomes_on(make_scheduler, guests, deep, engine=engine):
        assert (status, values) == ("trapped", ())
        assert 0 < fuel < FUEL
    for status, _, fuel, _, _ in await outcomes_on(make_scheduler, guests, deep, engine=engine, fuel=500):
        assert (status, fuel) == ("out_of_fuel", 500)
