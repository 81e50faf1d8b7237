"""Tenants' accounts in a running scheduler: what is held, what is refused and why, and what can be seen of it."""

import pytest
from clocks import VirtualClock
from watching import ENDLESS, running, sample, until_running

import wasmq
from wasmq.errors import (
    BudgetExhausted,
    ConfigError,
    InvalidArguments,
    KeyConflict,
    LimitTooHigh,
    NoAccount,
)
from wasmq.reconcile import reconcile_store

SPIN = """(module (func (export "spin") (loop $again (br $again))))"""
CAP = wasmq.Limits(fuel=100)


def prepaid(fuel=1_000, **more):
    """A tenant that has paid in advance."""
    return wasmq.Tenant(fuel_budget=fuel, **more)


async def test_a_bill_is_taken_from_the_account(make_scheduler, guests):
    """What the outcome says was used, no unit more or less; everybody else runs without an account."""
    async with running(make_scheduler, tenants={"acme": prepaid()}) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        outcome = await scheduler.run(mul, "mul", 2, 4, tenant="acme", limits=CAP)
        await scheduler.run(mul, "mul", 2, 4)
        account = await scheduler.account("acme")
        assert outcome.fuel_used == 4
        assert account == wasmq.Account(granted=1_000, spent=4, reserved=0, free=996, running=0, memory=0, next_at=None)
        assert scheduler.accounts() == {"acme": account}
        assert sample(scheduler, 'wasmq_fuel_budget_remaining{tenant="acme"}') == 996
        with pytest.raises(NoAccount, match="'default' has no account"):
            await scheduler.account("default")
        await reconcile_store(scheduler._store, scheduler._budgets.terms)


async def test_a_trap_and_a_spent_limit_are_paid_for_and_a_cancellation_of_what_waits_is_not(make_scheduler):
    """What the guest used is the bill, however it ended."""
    async with running(make_scheduler, tenants={"acme": prepaid(1_000_000)}) as scheduler:
        module = await scheduler.load(SPIN)
        limits = wasmq.Limits(fuel=50_000)
        outcome = await (await scheduler.submit(module, "spin", tenant="acme", limits=limits))
        assert (outcome.status, outcome.fuel_used) == ("out_of_fuel", 50_000)
        waiting = await scheduler.submit(module, "spin", tenant="acme", limits=limits, delay=60.0)
        await waiting.cancel()
        account = await scheduler.account("acme")
        assert (account.spent, account.reserved) == (50_000, 0)


async def test_a_job_that_cannot_be_paid_for_waits_for_a_credit(make_scheduler, guests):
    """It holds nobody up but its own tenant's, and starts with the credit; a key counts once."""
    async with running(make_scheduler, tenants={"acme": prepaid(100)}) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        held = await scheduler.submit(mul, "mul", 2, 4, tenant="acme", limits=wasmq.Limits(fuel=150))
        await scheduler.run(mul, "mul", 1, 1)
        assert (await scheduler.job(held.id)).state == "queued"
        for _ in range(2):
            account = await scheduler.credit("acme", 50, key="invoice-1")
        assert account.granted == 150
        assert (await held).value == 8
        with pytest.raises(KeyConflict):
            await scheduler.credit("acme", 51, key="invoice-1")


async def test_a_budget_is_granted_again_with_time(make_scheduler, guests):
    """What waits is said with its time, and starts then."""
    clock = VirtualClock()
    tenant = wasmq.Tenant(fuel_budget=100, fuel_period=1_000.0)
    async with running(make_scheduler, tenants={"acme": tenant}, clock=clock) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        await scheduler.run(mul, "mul", 2, 4, tenant="acme", limits=CAP)
        held = await scheduler.submit(mul, "mul", 2, 4, tenant="acme", limits=CAP)
        await scheduler.run(mul, "mul", 1, 1)
        account = await scheduler.account("acme")
        assert (account.free, account.next_at) == (96, clock.now + 40.0)
        clock.now += 40.0
        await scheduler.run(mul, "mul", 1, 1)
        assert (await held).value == 8


async def test_an_empty_account_may_refuse(make_scheduler, guests):
    """With the time when the job could run, or what it takes where no time helps; nothing is queued then."""
    clock = VirtualClock()
    tenants = {
        "acme": wasmq.Tenant(fuel_budget=100, fuel_period=1_000.0, on_empty="refuse"),
        "bolt": prepaid(100, on_empty="refuse"),
    }
    async with running(make_scheduler, tenants=tenants, clock=clock) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        for tenant in tenants:
            await scheduler.run(mul, "mul", 2, 4, tenant=tenant, limits=CAP)
        with pytest.raises(
            BudgetExhausted, match=r"'acme': its account has 96 fuel free, of 100 .*; try again in 40 s"
        ):
            await scheduler.submit(mul, "mul", 2, 4, tenant="acme", limits=CAP)
        with pytest.raises(BudgetExhausted, match=r"'bolt'.*it takes a credit") as refused:
            await scheduler.submit(mul, "mul", 2, 4, tenant="bolt", limits=CAP)
        assert refused.value.after is None
        two = [
            wasmq.Request(module=mul.digest, export="mul", args=(2, 4), tenant="bolt", limits=limits)
            for limits in [wasmq.Limits(fuel=60)] * 2
        ]
        with pytest.raises(BudgetExhausted, match="of 120 that"):
            await scheduler.submit_many(two)
        assert sample(scheduler, 'wasmq_rejected_total{reason="budget_exhausted"}') == 3
        assert await scheduler.jobs(status="queued") == []
        clock.now += 40.0
        assert (await scheduler.run(mul, "mul", 2, 4, tenant="acme", limits=CAP)).value == 8


async def test_what_can_never_be_paid_for_is_refused_at_once(make_scheduler, guests):
    """A cap above what the account can hold, or above the memory of all its jobs: whatever the tenant waits for."""
    tenants = {"acme": wasmq.Tenant(fuel_budget=100, fuel_period=10.0, fuel_burst=200, memory="1MiB")}
    async with running(make_scheduler, tenants=tenants) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        with pytest.raises(BudgetExhausted, match="a fuel cap of 201 is above the 200 that its account can hold"):
            await scheduler.submit(mul, "mul", 2, 4, tenant="acme", limits=wasmq.Limits(fuel=201, memory="64KiB"))
        with pytest.raises(LimitTooHigh, match="2 MiB is above what all jobs of tenant 'acme' together may use, 1 MiB"):
            await scheduler.submit(mul, "mul", 2, 4, tenant="acme", limits=wasmq.Limits(fuel=10, memory="2MiB"))
        await scheduler.credit("acme", 1)
        assert await scheduler.run(mul, "mul", 2, 4, tenant="acme", limits=wasmq.Limits(fuel=201, memory="64KiB"))


async def test_running_jobs_are_capped(make_scheduler, guests):
    """The next starts when one of them has ended."""
    async with running(make_scheduler, tenants={"acme": wasmq.Tenant(max_running=1)}) as scheduler:
        spin, mul = await scheduler.load(SPIN), await scheduler.load(guests / "mul.wat")
        hog = await scheduler.submit(spin, "spin", tenant="acme", limits=ENDLESS)
        await until_running(scheduler, hog.id)
        held = await scheduler.submit(mul, "mul", 2, 4, tenant="acme")
        await scheduler.run(mul, "mul", 1, 1)
        assert (await scheduler.job(held.id)).state == "queued"
        account = await scheduler.account("acme")
        assert (account.running, account.free) == (1, None)
        await hog.cancel()
        assert (await held).value == 8


@pytest.mark.parametrize(
    ("tenant", "named"),
    [
        ({"fuel_budget": -1}, "fuel_budget"),
        ({"fuel_budget": 2**63}, "fuel_budget"),
        ({"fuel_budget": 0, "fuel_period": 1.0}, "fuel_budget"),
        ({"fuel_budget": 1.5}, "fuel_budget"),
        ({"fuel_budget": 1, "fuel_period": 0.0}, "fuel_period"),
        ({"fuel_budget": 1, "fuel_period": float("nan")}, "fuel_period"),
        ({"fuel_budget": 1, "fuel_period": float("inf")}, "fuel_period"),
        ({"fuel_period": 1.0}, "fuel_budget"),
        ({"fuel_burst": 1}, "fuel_period"),
        ({"fuel_budget": 1, "fuel_period": 1.0, "fuel_burst": 0}, "fuel_burst"),
        ({"fuel_rate": 0}, "fuel_rate"),
        ({"fuel_rate": -5}, "fuel_rate"),
        ({"max_running": 0}, "max_running"),
        ({"memory": 0}, "memory"),
        ({"memory": "much"}, "memory"),
        ({"on_empty": "shrug"}, "on_empty"),
        ({"weight": 0.0}, "weight"),
        ({"weight": float("nan")}, "weight"),
    ],
)
async def test_impossible_terms_are_refused(make_scheduler, tenant, named):
    """In one line that names the tenant and the term, wherever they come from; what was in force stays."""
    with pytest.raises(ConfigError, match=f"'acme'.*{named}"):
        make_scheduler(tenants={"acme": wasmq.Tenant(**tenant)})
    async with running(make_scheduler, tenants={"acme": prepaid()}) as scheduler:
        with pytest.raises(ConfigError, match=f"'acme'.*{named}"):
            await scheduler.set_tenant("acme", wasmq.Tenant(**tenant))
        assert scheduler.tenants()["acme"] == prepaid()
        assert (await scheduler.account("acme")).free == 1_000


async def test_impossible_credits_are_refused(make_scheduler):
    """Amounts that are none, accounts that are not there, sums beyond all measure: and the account is as it was."""
    tenants = {"acme": prepaid(), "bolt": wasmq.Tenant(max_running=1)}
    async with running(make_scheduler, tenants=tenants) as scheduler:
        for fuel in (0, -1, 2**63, 2**200, 1.5, True, "7"):
            with pytest.raises(InvalidArguments, match="is not an amount of fuel"):
                await scheduler.credit("acme", fuel)
        with pytest.raises(InvalidArguments, match=r"above 2\*\*63 - 1"):
            await scheduler.credit("acme", 2**63 - 1)
        with pytest.raises(NoAccount, match="'bolt' has no fuel_budget"):
            await scheduler.credit("bolt", 1)
        with pytest.raises(NoAccount, match="'nobody' has no account"):
            await scheduler.credit("nobody", 1)
        assert (await scheduler.account("acme")).granted == 1_000


async def test_an_account_outlives_the_process_and_its_terms(make_scheduler, guests, tmp_path):
    """In a file: what was spent stays spent, and a tenant whose terms are gone for a while keeps what it has."""
    store = f"sqlite:///{tmp_path}/jobs.db"
    async with running(make_scheduler, store=store, tenants={"acme": prepaid()}) as scheduler:
        mul = await scheduler.load(guests / "mul.wat")
        await scheduler.run(mul, "mul", 2, 4, tenant="acme", limits=CAP)
        await scheduler.credit("acme", 10)
        await scheduler.set_tenant("acme", wasmq.Tenant())
        await scheduler.run(mul, "mul", 2, 4, tenant="acme", limits=wasmq.Limits(fuel=10_000))
        await scheduler.set_tenant("acme", prepaid())
    async with running(make_scheduler, store=store, tenants={"acme": prepaid()}) as scheduler:
        account = await scheduler.account("acme")
        assert (account.granted, account.spent, account.reserved) == (1_010, 4, 0)
