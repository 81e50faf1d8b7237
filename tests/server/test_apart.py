"""Tenants apart: what one token does, no other token of another tenant can tell."""

from __future__ import annotations

import hashlib
import re
from contextlib import AsyncExitStack, asynccontextmanager
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
USES_SECRET = """(module (import "acme" "secret_of_acme" (func)) (func (export "call") (call 0)))"""
NOBODY = "0" * 64
OF_A_JOB = [
    ("GET", "/v1/jobs/{}"),
    ("GET", "/v1/jobs/{}?wait=0.01"),
    ("GET", "/v1/jobs/{}/events"),
    ("GET", "/v1/jobs/{}/call"),
    ("GET", "/v1/jobs/{}/recording"),
    ("DELETE", "/v1/jobs/{}"),
    ("POST", "/v1/jobs/{}/requeue"),
    ("POST", "/v1/jobs/{}/refuel"),
    ("POST", "/v1/jobs/{}/replay"),
    ("GET", "/v1/jobs?cursor={}"),
    ("GET", "/v1/jobs?ids={}"),
]
"""Routes that name a job."""
OF_A_MODULE = [
    ("GET", "/v1/modules/{}"),
    ("GET", "/v1/modules/{}/estimate"),
    ("GET", "/v1/modules/{}/estimate?export=secret_of_acme"),
    ("POST", "/v1/jobs"),
    ("PUT", "/v1/modules"),
]
"""Routes that name a module, and the one that brings it."""
NAMING = [("GET", "/v1/tenants/{}"), ("GET", "/v1/jobs?tenant={}"), ("PUT", "/v1/modules?tenant={}")]
"""Routes on which a tenant may name itself, and nobody else."""
OF_EVERYBODY = [
    ("GET", "/v1/modules"),
    ("PUT", "/v1/modules?shared=true"),
    ("GET", "/v1/tenants"),
    ("PUT", "/v1/tenants/{}"),
    ("POST", "/v1/tenants/{}/credit"),
    ("GET", "/metrics"),
]
"""Routes for who administers."""
OPEN = {("GET", "/livez"), ("GET", "/readyz"), ("GET", "/schema")}
"""Routes that say the same to everybody."""
ROLES = {**dict.fromkeys(("acme", "bolt", "coil"), ("submit", "observe")), "boss": ("administer",)}


@pytest.fixture
def open_house(cache: Path) -> Callable[..., AbstractAsyncContextManager[SimpleNamespace]]:
    """Return a context manager: a client for each tenant of one daemon.

    acme has loaded two modules and run a job with a key, unless it is not `furnished`; the others have done nothing.
    """

    # Entered in the test's own task, because a scheduler must end in the task that started it.
    @asynccontextmanager
    async def open_house(*, store: str = "memory://", furnished: bool = True) -> AsyncIterator[SimpleNamespace]:
        config = Config(
            modules=ModulesConfig(directory=str(cache)),
            scheduler=SchedulerConfig(workers=1, store=store),
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

            async with AsyncExitStack() as stack:
                house = SimpleNamespace(scheduler=scheduler)
                for name in ROLES:
                    setattr(house, name, await stack.enter_async_context(client(name)))
                if not furnished:
                    yield house
                    return
                acme = house.acme
                digest = (await acme.put("/v1/modules", content=MUL)).json()["digest"]
                secret = (await acme.put("/v1/modules", content=OF_ACME)).json()["digest"]
                call = {"module": digest, "export": "mul", "args": [6, 7], "key": "invoice-17"}
                job = (await acme.post("/v1/jobs?wait=60", json=call)).json()
                assert job["outcome"]["value"] == 42
                house.digest, house.secret, house.call, house.job = digest, secret, call, job["id"]
                yield house

    return open_house


async def test_every_route_is_walked_here(open_house):
    """Each operation of the OpenAPI document is in one of the lists above: a new route needs a row in one of them."""
    walked = {(method, re.sub(r"\?.*", "", path)) for method, path in (*OF_A_JOB, *OF_A_MODULE, *NAMING, *OF_EVERYBODY)}
    assert walked.isdisjoint(OPEN)
    async with open_house() as house:
        paths = (await house.bolt.get("/schema")).json()["paths"]
    routes = {
        (method.upper(), path.replace("{id}", "{}").replace("{digest}", "{}").replace("{name}", "{}"))
        for path, operations in paths.items()
        for method in operations
        if method != "parameters"
    }
    assert routes == walked | OPEN


@pytest.mark.parametrize(("method", "path"), OF_A_JOB)
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
            await house.bolt.put("/v1/modules", content=MUL)
            there = await house.bolt.post("/v1/jobs", json=body("acme"))
            nowhere = await house.bolt.post("/v1/jobs", json=body("none"))
            assert there.status_code == nowhere.status_code == 403
            assert there.text.replace("acme", "none") == nowhere.text
        for method, path in NAMING:
            there, nowhere = [
                await house.bolt.request(method, path.format(name), content=b"") for name in ("acme", "none")
            ]
            assert there.status_code == nowhere.status_code == 403
            assert there.text.replace("acme", "none") == nowhere.text


async def test_an_idempotency_key_is_the_tenants_own(open_house):
    """bolt's job with acme's key is a new one, and acme's key still names acme's job."""
    async with open_house() as house:
        await house.bolt.put("/v1/modules", content=MUL)
        for args in ([6, 7], [1, 1]):
            key = house.call["key"] if args == [6, 7] else "invoice-18"
            answer = await house.bolt.post("/v1/jobs?wait=60", json={**house.call, "args": args, "key": key})
            assert answer.status_code == 200
            assert answer.json()["id"] != house.job
            assert answer.json()["tenant"] == "bolt"
        assert (await house.acme.post("/v1/jobs?wait=60", json=house.call)).json()["id"] == house.job


def calls_of(digest, own=NOBODY):
    """Return what names a module in a job's body, alone and beside one of one's `own`."""
    call = {"module": digest, "export": "secret_of_acme"}
    linked = {"module": own, "export": "mul", "args": [6, 7], "link": {"env": digest}}
    return [call, [call], [{**linked, "link": {}}, call], linked, [linked], {**call, "args": [1]}, {"module": digest}]


@pytest.mark.parametrize(("method", "path"), [row for row in OF_A_MODULE if "{}" in row[1]])
async def test_a_module_of_another_tenant_is_one_that_never_was(open_house, method, path):
    """Status, headers and text are those for a digest of nobody's; until bolt has brought the same bytes itself."""
    async with open_house() as house:
        theirs = await house.bolt.request(method, path.format(house.secret))
        none = await house.bolt.request(method, path.format(NOBODY))
        assert theirs.status_code == none.status_code == 404
        assert theirs.headers == none.headers
        assert theirs.text.replace(house.secret, NOBODY) == none.text
        brought = await house.bolt.put("/v1/modules", content=OF_ACME)
        assert (brought.status_code, brought.json()["digest"]) == (200, house.secret)
        assert (await house.bolt.request(method, path.format(house.secret))).status_code != 404


@pytest.mark.parametrize("form", range(len(calls_of(NOBODY))))
async def test_a_module_of_another_tenant_cannot_be_run_or_linked(open_house, form):
    """A job that names acme's digest is answered as one with a digest of nobody's, and nothing of it is queued."""
    async with open_house() as house:
        await house.bolt.put("/v1/modules", content=MUL)
        theirs = await house.bolt.post("/v1/jobs", json=calls_of(house.secret, house.digest)[form])
        none = await house.bolt.post("/v1/jobs", json=calls_of(NOBODY, house.digest)[form])
        assert theirs.status_code == none.status_code == 404
        assert theirs.headers == none.headers
        assert theirs.text.replace(house.secret, NOBODY) == none.text
        assert (await house.bolt.get("/v1/jobs")).json()["jobs"] == []


async def test_a_module_is_linked_by_who_has_loaded_both(open_house):
    """Each of the modules of a job must be the tenant's own, the linked one too."""
    async with open_house() as house:
        user = (await house.bolt.put("/v1/modules", content=USES_SECRET)).json()["digest"]
        call = {"module": user, "export": "call", "link": {"acme": house.secret}}
        assert (await house.bolt.post("/v1/jobs", json=call)).status_code == 404
        assert (await house.bolt.put("/v1/modules", content=OF_ACME)).status_code == 200
        assert (await house.bolt.post("/v1/jobs", json=call)).status_code == 202


async def test_loading_what_another_has_loaded_says_nothing(open_house):
    """bolt is answered the same for acme's bytes as acme was, and for bytes of nobody's but for what they are."""
    async with open_house() as house:
        first = await house.acme.put("/v1/modules", content=OF_ACME)
        again = await house.bolt.put("/v1/modules", content=OF_ACME)
        assert (again.status_code, again.text, again.headers) == (first.status_code, first.text, first.headers)


async def test_an_operator_shares_a_module(open_house):
    """With one tenant, or with all of them; a tenant that was not named still has none."""
    async with open_house() as house:
        seen = f"/v1/modules/{house.secret}"
        assert (await house.boss.put("/v1/modules?tenant=bolt", content=OF_ACME)).status_code == 200
        assert [(await one.get(seen)).status_code for one in (house.bolt, house.coil)] == [200, 404]
        assert (await house.boss.put("/v1/modules?shared=true", content=OF_ACME)).status_code == 200
        assert (await house.coil.get(seen)).status_code == 200
        call = {"module": house.secret, "export": "secret_of_acme"}
        assert (await house.coil.post("/v1/jobs", json=call)).status_code == 202


@pytest.mark.parametrize("query", ["shared=maybe", "shared=true&tenant=bolt"])
async def test_what_cannot_be_shared_is_said(open_house, query):
    """A value that is neither, and one tenant together with all, are refused by name."""
    async with open_house() as house:
        answer = await house.boss.put(f"/v1/modules?{query}", content=OF_ACME)
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("shared: ")


async def test_the_program_shares_a_module(open_house):
    """What the embedding program has loaded is nobody's over HTTP until it says whose."""
    async with open_house() as house:
        module = await house.scheduler.load(USES_SECRET)
        path = f"/v1/modules/{module.digest}"
        assert (await house.acme.get(path)).status_code == 404
        await house.scheduler.share(module, "acme")
        assert [(await one.get(path)).status_code for one in (house.acme, house.bolt)] == [200, 404]
        await house.scheduler.share(module.digest)
        assert (await house.bolt.get(path)).status_code == 200


async def test_a_module_is_still_its_tenants_after_a_restart(open_house, tmp_path):
    """A durable store keeps whose it is: acme runs it by its digest in the next life, and bolt does not."""
    store = f"sqlite:///{tmp_path}/wasmq.db"
    async with open_house(store=store) as house:
        secret = house.secret
    call = {"module": secret, "export": "secret_of_acme"}
    async with open_house(store=store, furnished=False) as house:
        assert (await house.bolt.post("/v1/jobs", json=call)).status_code == 404
        assert (await house.acme.post("/v1/jobs", json=call)).status_code == 202


async def test_a_finished_call_answers_nobody_elses(open_house):
    """bolt's call that is identical to one of acme's is run and paid, though acme's answer is kept."""
    async with open_house() as house:
        await house.bolt.put("/v1/modules", content=MUL)
        call = {**house.call, "key": None, "reuse": "result"}

        async def ask(who):
            return (await who.post("/v1/jobs?wait=60", json=call)).json()["outcome"]

        def run():
            return house.scheduler.metrics.render().decode().partition("wasmq_job_run_seconds_count ")[2].split()[0]

        first, kept = await ask(house.acme), await ask(house.acme)
        assert (first["reused"], kept["reused"] is None, kept["fuel_used"]) == (None, False, 0)
        before = float(run())
        theirs = await ask(house.bolt)
        assert (theirs["reused"], theirs["fuel_used"]) == (None, first["fuel_used"])
        assert float(run()) == before + 1
        assert (await ask(house.bolt))["fuel_used"] == 0
        assert float(run()) == before + 1


async def test_a_tenant_is_told_of_a_module_as_it_would_be_of_none(open_house):
    """The library's own error for a digest of nobody's has the same words, so that the two can never differ."""
    async with open_house() as house:
        answer = await house.boss.get(f"/v1/modules/{NOBODY}")
        assert answer.json()["type"] == "urn:wasmq:unknown-module"
        assert answer.text == (await house.bolt.get(f"/v1/modules/{NOBODY}")).text
        assert issubclass(UnknownModule, wasmq.WasmqError)


@pytest.mark.parametrize(("method", "path"), OF_EVERYBODY)
async def test_what_tells_of_everybody_is_for_who_administers(open_house, method, path):
    """A tenant gets 403, with the name of the role that it lacks; not even its own terms are its own to set."""
    async with open_house() as house:
        path = path.format("bolt")
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
