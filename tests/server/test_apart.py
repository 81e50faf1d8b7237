"""Tenants apart: what one token does, no other token of another tenant can tell."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest

import wasmq
from wasmq.config import Config, ModulesConfig, SchedulerConfig, Tenant
from wasmq.errors import UnknownModule
from wasmq.server import build_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

MUL = """(module (func (export "mul") (param i32 i32) (result i32) (i32.mul (local.get 0) (local.get 1))))"""
OF_ACME = """(module (func (export "secret_of_acme") unreachable))"""
NOBODY = "0" * 64
ROLES = {"acme": ("submit", "observe"), "bolt": ("submit", "observe"), "boss": ("administer",)}


@pytest.fixture
def open_house(cache: Path) -> Callable[[], AbstractAsyncContextManager[SimpleNamespace]]:
    """Return a context manager: a client for each tenant of one daemon. acme has run a job with a key, bolt nothing."""

    # Entered in the test's own task, because a scheduler must end in the task that started it.
    @asynccontextmanager
    async def open_house() -> AsyncIterator[SimpleNamespace]:
        config = Config(
            modules=ModulesConfig(directory=str(cache)),
            scheduler=SchedulerConfig(workers=1),
            tenants={
                name: Tenant(tokens=(f"sha256:{hashlib.sha256(name.encode()).hexdigest()}",), roles=roles)
                for name, roles in ROLES.items()
            },
        )
        async with wasmq.Scheduler(config=config) as scheduler:
            transport = httpx.ASGITransport(app=build_app(scheduler))

            def client(name):
                headers = {"Authorization": f"Bearer {name}"}
                return httpx.AsyncClient(transport=transport, base_url="http://wasmq.example", headers=headers)

            async with client("acme") as acme, client("bolt") as bolt, client("boss") as boss:
                digest = (await acme.put("/v1/modules", content=MUL)).json()["digest"]
                secret = (await acme.put("/v1/modules", content=OF_ACME)).json()["digest"]
                call = {"module": digest, "export": "mul", "args": [6, 7], "key": "invoice-17"}
                job = (await acme.post("/v1/jobs?wait=60", json=call)).json()
                assert job["outcome"]["value"] == 42
                yield SimpleNamespace(
                    acme=acme, bolt=bolt, boss=boss, digest=digest, secret=secret, call=call, job=job["id"]
                )

    return open_house


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/{}"),
        ("GET", "/v1/jobs/{}?wait=0.01"),
        ("GET", "/v1/jobs/{}/events"),
        ("DELETE", "/v1/jobs/{}"),
        ("POST", "/v1/jobs/{}/requeue"),
        ("POST", "/v1/jobs/{}/refuel"),
        ("GET", "/v1/jobs?cursor={}"),
        ("GET", "/v1/jobs?ids={}"),
    ],
)
async def test_a_job_of_another_tenant_is_one_that_never_was(open_house, method, path):
    """Status, headers and text are those for an id of nobody's; the job's own tenant gets another answer."""
    async with open_house() as house:
        nobody = house.job[:-1] + ("0" if house.job[-1] != "0" else "1")
        content = b'{"fuel":1}' if path.endswith("refuel") else b""
        theirs = await house.bolt.request(method, path.format(house.job), content=content)
        none = await house.bolt.request(method, path.format(nobody), content=content)
        assert theirs.status_code == none.status_code
        assert theirs.headers == none.headers
        assert theirs.text.replace(house.job, nobody) == none.text
        own = await house.acme.request(method, path.format(house.job), content=content)
        assert (own.status_code, own.text) != (theirs.status_code, theirs.text)


async def test_listing_shows_a_tenant_its_own_jobs(open_house):
    """Nothing of acme's is in bolt's lists, whatever bolt asks for, and acme's name is not to be asked for."""
    async with open_house() as house:
        for query in ("", "?status=finished", "?status=succeeded", "?tenant=bolt", "?limit=1000"):
            assert (await house.bolt.get(f"/v1/jobs{query}")).json() == {"jobs": [], "cursor": None}
        assert (await house.bolt.get("/v1/jobs?tenant=acme")).status_code == 403
        assert [job["id"] for job in (await house.boss.get("/v1/jobs")).json()["jobs"]] == [house.job]


async def test_naming_another_tenant_says_the_same_whether_it_exists(open_house):
    """A tenant cannot find out which other tenants there are."""
    async with open_house() as house:
        for body in (lambda name: {**house.call, "tenant": name}, lambda name: [{**house.call, "tenant": name}]):
            there = await house.bolt.post("/v1/jobs", json=body("acme"))
            nowhere = await house.bolt.post("/v1/jobs", json=body("none"))
            assert there.status_code == nowhere.status_code == 403
            assert there.text.replace("acme", "none") == nowhere.text
        for path in ("/v1/tenants/{}", "/v1/jobs?tenant={}"):
            there, nowhere = await house.bolt.get(path.format("acme")), await house.bolt.get(path.format("none"))
            assert there.status_code == nowhere.status_code == 403
            assert there.text.replace("acme", "none") == nowhere.text


async def test_an_idempotency_key_is_the_tenants_own(open_house):
    """bolt's job with acme's key is a new one, and acme's key still names acme's job."""
    async with open_house() as house:
        for args in ([6, 7], [1, 1]):
            key = house.call["key"] if args == [6, 7] else "invoice-18"
            answer = await house.bolt.post("/v1/jobs?wait=60", json={**house.call, "args": args, "key": key})
            assert answer.status_code == 200
            assert answer.json()["id"] != house.job
            assert answer.json()["tenant"] == "bolt"
        assert (await house.acme.post("/v1/jobs?wait=60", json=house.call)).json()["id"] == house.job


async def test_a_module_is_seen_by_who_has_loaded_or_run_it(open_house):
    """Until bolt has brought the same bytes, acme's digest is one that nobody has loaded."""
    async with open_house() as house:
        theirs, none = (
            await house.bolt.get(f"/v1/modules/{house.secret}"),
            await house.bolt.get(f"/v1/modules/{NOBODY}"),
        )
        assert theirs.status_code == none.status_code == 404
        assert theirs.text.replace(house.secret, NOBODY) == none.text
        for one in (house.acme, house.boss):
            assert (await one.get(f"/v1/modules/{house.secret}")).status_code == 200
        assert (await house.bolt.put("/v1/modules", content=OF_ACME)).json()["digest"] == house.secret
        assert (await house.bolt.get(f"/v1/modules/{house.secret}")).status_code == 200


async def test_a_module_that_was_run_is_seen(open_house):
    """Who has a module's digest and calls it may look at it then."""
    async with open_house() as house:
        assert (await house.bolt.get(f"/v1/modules/{house.digest}")).status_code == 404
        assert (await house.bolt.post("/v1/jobs", json={**house.call, "key": None})).status_code == 202
        assert (await house.bolt.get(f"/v1/modules/{house.digest}")).status_code == 200


async def test_a_tenant_is_told_of_a_module_as_it_would_be_of_none(open_house):
    """The library's own error for a digest of nobody's has the same words, so that the two can never differ."""
    async with open_house() as house:
        answer = await house.boss.get(f"/v1/modules/{NOBODY}")
        assert answer.json()["type"] == "urn:wasmq:unknown-module"
        assert answer.text == (await house.bolt.get(f"/v1/modules/{NOBODY}")).text
        assert issubclass(UnknownModule, wasmq.WasmqError)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/modules"),
        ("GET", "/v1/tenants"),
        ("PUT", "/v1/tenants/bolt"),
        ("POST", "/v1/tenants/bolt/credit"),
        ("GET", "/metrics"),
    ],
)
async def test_what_tells_of_everybody_is_for_who_administers(open_house, method, path):
    """A tenant gets 403, with the name of the role that it lacks; not even its own terms are its own to set."""
    async with open_house() as house:
        answer = await house.bolt.request(method, path, content=b'{"fuel":1}' if method == "POST" else b"{}")
        assert answer.status_code == 403
        assert "acme" not in answer.text
        if method == "GET":
            assert (await house.boss.get(path)).status_code == 200


async def test_no_answer_to_one_tenant_names_the_other(open_house):
    """Nothing that bolt is told, on any path that takes no id, has acme's name, job or module in it."""
    async with open_house() as house:
        for path in (
            "/v1/jobs",
            "/v1/tenants/bolt",
            "/livez",
            "/readyz",
            "/schema",
            "/v1/modules",
            "/metrics",
            "/nowhere",
        ):
            answer = await house.bolt.get(path)
            told = answer.text + str(answer.headers)
            assert not any(word in told for word in (house.job, house.secret, "secret_of_acme")), path
            assert path == "/schema" or "acme" not in told, path
