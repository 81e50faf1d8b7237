"""The routes for accounts: terms are set, balances shown, credits given, and an empty account is 429 with its time."""

import httpx
import pytest

import wasmq
from wasmq.config import Tenant
from wasmq.errors import BudgetExhausted, ConfigError, InvalidArguments, KeyConflict, NoAccount
from wasmq.server import build_app

ACCOUNT = {"granted": 1_000, "spent": 0, "reserved": 0, "free": 1_000, "running": 0, "memory": 0, "next_at": None}


async def test_an_account_is_shown_with_its_tenant(client):
    """To who asks for the tenant, and in the list once it is open."""
    assert (await client.get("/v1/tenants/paid")).json()["account"] == ACCOUNT
    assert (await client.get("/v1/tenants/acme")).json()["account"] is None
    await client.post("/v1/tenants/paid/credit", json={"fuel": 5})
    listed = (await client.get("/v1/tenants")).json()["tenants"]
    assert listed["paid"]["account"]["granted"] == 1_005
    assert listed["acme"]["account"] is None


async def test_terms_are_set(client, scheduler):
    """With the rest of a tenant's share; what the account holds stays."""
    await client.post("/v1/tenants/paid/credit", json={"fuel": 5})
    terms = {
        "fuel_budget": 10,
        "fuel_period": 60.0,
        "fuel_burst": 20,
        "fuel_rate": 5,
        "max_running": 2,
        "memory": 2**20,
        "on_empty": "refuse",
    }
    response = await client.put("/v1/tenants/paid", json=terms)
    assert response.status_code == 200
    assert response.json().items() >= terms.items()
    assert response.json()["account"]["free"] == 1_005
    assert scheduler.tenants()["paid"] == Tenant(**terms)


@pytest.mark.parametrize(
    "body",
    [
        {"fuel_budget": -1},
        {"fuel_budget": 2**63},
        {"fuel_budget": 0, "fuel_period": 1.0},
        {"fuel_period": 1.0},
        {"fuel_burst": 5},
        {"fuel_rate": 0},
        {"memory": 0},
        {"memory": "1MiB"},
        {"on_empty": "shrug"},
    ],
)
async def test_impossible_terms_are_422(client, scheduler, body):
    """And change nothing."""
    assert (await client.put("/v1/tenants/paid", json=body)).status_code == 422
    assert scheduler.tenants()["paid"] == Tenant(fuel_budget=1_000)


async def test_a_credit_counts_once_for_a_key(client):
    """In the body or as Idempotency-Key; the same key for another amount is 409, two keys that differ are 422."""
    header = {"Idempotency-Key": "invoice-1"}
    for request in ({"json": {"fuel": 7}, "headers": header}, {"json": {"fuel": 7, "key": "invoice-1"}}):
        response = await client.post("/v1/tenants/paid/credit", **request)
        assert (response.status_code, response.json()["granted"]) == (200, 1_007)
    conflict = await client.post("/v1/tenants/paid/credit", json={"fuel": 8}, headers=header)
    assert (conflict.status_code, conflict.json()["type"]) == (409, "urn:wasmq:key-conflict")
    differ = await client.post("/v1/tenants/paid/credit", json={"fuel": 7, "key": "other"}, headers=header)
    assert differ.status_code == 422


@pytest.mark.parametrize(
    ("tenant", "body", "status"),
    [
        ("paid", {"fuel": 0}, 422),
        ("paid", {"fuel": -1}, 422),
        ("paid", {"fuel": 2**63}, 422),
        ("paid", {"fuel": 2**63 - 1}, 422),
        ("paid", {"fuel": 1.5}, 422),
        ("paid", {}, 422),
        ("paid", {"fuel": 1, "key": ""}, 422),
        ("acme", {"fuel": 1}, 422),
        ("nobody", {"fuel": 1}, 422),
    ],
)
async def test_impossible_credits_are_refused(client, tenant, body, status):
    """And grant nothing."""
    assert (await client.post(f"/v1/tenants/{tenant}/credit", json=body)).status_code == status
    assert (await client.get("/v1/tenants/paid")).json()["account"] == ACCOUNT


@pytest.mark.parametrize(("after", "header"), [(12.2, "13"), (0.01, "1"), (1e30, "31622400"), (None, None)])
async def test_an_empty_account_says_when_to_come_again(client, scheduler, digest, after, header):
    """429 with Retry-After; without it no time helps."""
    scheduler.failure = BudgetExhausted("tenant 'acme': empty", after)
    response = await client.post("/v1/jobs", json={"module": digest, "export": "mul", "args": [2, 4]})
    assert (response.status_code, response.json()["type"]) == (429, "urn:wasmq:budget-exhausted")
    assert response.headers.get("retry-after") == header


@pytest.fixture
async def remote(scheduler):
    """A `Client` of the same daemon, which does not try anything twice."""
    transport = httpx.ASGITransport(app=build_app(scheduler))
    async with wasmq.Client("http://localhost", transport=transport, retry_for=0.0) as client:
        yield client


async def test_a_client_sees_and_does_the_same(remote, scheduler, digest):
    """Terms, accounts and credits, and the same errors as the scheduler's own methods raise."""
    tenant = Tenant(fuel_budget=10, fuel_period=60.0, memory=2**20)
    await remote.set_tenant("new", tenant)
    assert await remote.tenant("new") == scheduler.tenants()["new"] == tenant
    assert await remote.account("new") == await scheduler.account("new")
    assert (await remote.credit("paid", 7, key="k")).granted == 1_007
    assert (await remote.credit("paid", 7, key="k")).granted == 1_007
    assert (await remote.accounts())["paid"].granted == 1_007
    assert (await remote.tenants())["paid"] == Tenant(fuel_budget=1_000)
    for error, call in [
        (KeyConflict, remote.credit("paid", 8, key="k")),
        (NoAccount, remote.credit("acme", 1)),
        (NoAccount, remote.account("acme")),
        (InvalidArguments, remote.credit("paid", 0)),
        (InvalidArguments, remote.credit("paid", 2**63 - 1)),
        (ConfigError, remote.set_tenant("new", Tenant(fuel_rate=0))),
    ]:
        with pytest.raises(error):
            await call
    scheduler.failure = BudgetExhausted("tenant 'acme': empty", 12.2)
    with pytest.raises(BudgetExhausted, match="empty") as refused:
        await remote.submit(digest, "mul", 2, 4)
    assert refused.value.after == 13.0
