"""Tokens: who may do what, and what nobody else's token may even see."""

from __future__ import annotations

import hashlib
import re
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmq
from wasmq.config import Config, ModulesConfig, SchedulerConfig, ServerConfig, Tenant
from wasmq.errors import Unauthenticated
from wasmq.server import build_app, stream
from wasmq.server.context import Context
from wasmq.server.guard import OPEN
from wasmq.server.tokens import ANYBODY, Keyring

MUL = (Path(__file__).parents[2] / "workers" / "guests" / "mul.wat").read_bytes()
LOOP = (Path(__file__).parents[2] / "workers" / "guests" / "loop.wat").read_bytes()


def hashed(token):
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


TENANTS = {
    "acme": Tenant(tokens=(hashed("acme-1"), hashed("acme-2"))),
    "bolt": Tenant(tokens=(hashed("bolt"),)),
    "looker": Tenant(tokens=(hashed("looker"),), roles=("observe",)),
    "sender": Tenant(tokens=(hashed("sender"),), roles=("submit",)),
    "boss": Tenant(tokens=(hashed("boss"),), roles=("administer",)),
}


@pytest.fixture
def daemon(tmp_path):
    """Return a context manager: a function that makes a client with a token, of one daemon."""

    # Entered in the test's own task, because a scheduler must end in the task that started it.
    @asynccontextmanager
    async def daemon(**server):
        config = Config(
            modules=ModulesConfig(directory=str(tmp_path)),
            scheduler=SchedulerConfig(workers=1),
            server=ServerConfig(**server),
            tenants=TENANTS,
        )
        async with wasmq.Scheduler(config=config) as scheduler:
            transport = httpx.ASGITransport(app=build_app(scheduler))

            def client(token=None):
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                return httpx.AsyncClient(transport=transport, base_url="http://wasmq.example", headers=headers)

            client.scheduler = scheduler
            yield client

    return daemon


async def rotate(client, **tenants):
    """Give a daemon other tenants."""
    await client.scheduler.reload(msgspec.structs.replace(client.scheduler.config, tenants=tenants))


async def test_tokens_rotate_without_a_restart(daemon):
    """After a reload the new token opens, the old one does not, and another role is another right."""
    async with daemon() as client, client("acme-1") as old, client("new") as new, client("bolt") as bolt:
        assert (await old.get("/v1/jobs")).status_code == 200
        assert (await new.get("/v1/jobs")).status_code == 401
        await rotate(
            client, acme=Tenant(tokens=(hashed("new"),)), bolt=Tenant(tokens=(hashed("bolt"),), roles=("submit",))
        )
        assert (await old.get("/v1/jobs")).status_code == 401
        assert (await new.get("/v1/jobs")).status_code == 200
        assert (await bolt.get("/v1/jobs")).status_code == 403


async def test_taking_every_token_away_lets_nobody_in(daemon):
    """A daemon that wanted tokens when it began to listen is not opened to everybody by a reload."""
    async with daemon() as client, client("acme-1") as acme, client() as nobody:
        await rotate(client, acme=Tenant())
        assert (await acme.get("/v1/jobs")).status_code == 401
        assert (await nobody.get("/v1/jobs")).status_code == 401


async def test_a_stream_ends_with_its_token(daemon, monkeypatch):
    """Whose token is taken away hears no more of a job that goes on."""
    monkeypatch.setattr(stream, "RECHECK", 0.01)
    async with daemon() as client, client("acme-1") as acme, client("boss") as boss:
        digest = (await acme.put("/v1/modules", content=LOOP)).json()["digest"]
        body = {"module": digest, "export": "spin", "limits": {"timeout": 60, "fuel": 10**12}}
        job = (await acme.post("/v1/jobs", json=body)).json()["id"]
        answers = []
        opened = anyio.Event()
        let_in = Context.stream

        def entered(context, who):
            opened.set()
            return let_in(context, who)

        monkeypatch.setattr(Context, "stream", entered)

        async def listen():
            answers.append(await acme.get(f"/v1/jobs/{job}/events", timeout=30))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                await opened.wait()
                await rotate(client, boss=TENANTS["boss"])
        assert "event: finished" not in answers[0].text
        assert (await boss.get(f"/v1/jobs/{job}")).json()["outcome"] is None
        await boss.delete(f"/v1/jobs/{job}")


async def test_every_answer_tells_browsers_to_be_careful(daemon):
    """No guessing of types, no frames, no scripts, nothing kept: of answers and refusals alike."""
    async with daemon() as client, client("acme-1") as acme, client() as nobody:
        for who, path in ((acme, "/v1/jobs"), (acme, "/v1/jobs/x"), (nobody, "/v1/jobs"), (nobody, "/schema")):
            headers = (await who.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["cache-control"] == "no-store"


@given(st.text(st.characters(codec="latin-1")).filter(lambda text: text.strip() != "acme-1"))
def test_no_other_text_is_a_token(text):
    """What is not the token itself opens nothing."""
    keyring = Keyring(Config(tenants={"acme": Tenant(tokens=(hashed("acme-1"),))}))
    with pytest.raises(Unauthenticated):
        keyring.caller(b"Bearer " + text.encode("latin-1"))


def test_a_token_stands_for_its_tenant():
    """The scheme's name has no case; without tokens everybody is anybody; optional tokens still count."""
    keyring = Keyring(Config(tenants=TENANTS))
    assert keyring.caller(b"bearer acme-2") == keyring.caller(b"BEARER acme-1")
    assert keyring.caller(b"Bearer acme-1").tenant == "acme"
    with pytest.raises(Unauthenticated):
        keyring.caller(b"Basic acme-1")
    assert Keyring(Config()).caller(None) is ANYBODY
    optional = Keyring(Config(tenants=TENANTS, server=ServerConfig(tokens_required=False)))
    assert optional.caller(None) is ANYBODY
    assert optional.caller(b"Bearer bolt").tenant == "bolt"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YWNtZQ=="}])
async def test_every_route_wants_a_token(daemon, headers):
    """Without a token, or with a wrong one, every route is 401 and says how to do it; but the probes and the document
    are for everybody."""
    async with daemon() as client, client() as asking:
        described = (await asking.get("/schema")).json()["paths"]
        for path, item in described.items():
            for method in item.keys() - {"parameters"}:
                response = await asking.request(method, re.sub(r"\{\w+\}", "x", path), headers=headers)
                if path in OPEN and not headers:
                    assert response.status_code == 200
                    continue
                assert (response.status_code, response.json()["type"]) == (401, "urn:wasmq:unauthenticated"), path
                assert response.headers["www-authenticate"].startswith('Bearer realm="wasmq"')
                assert ("invalid_token" in response.headers["www-authenticate"]) is bool(headers)


async def test_a_tenants_jobs_are_its_own(daemon):
    """What one tenant submits is another's to see in no way: by id it is as one that never was."""
    async with daemon() as client, client("acme-1") as acme, client("bolt") as bolt, client("boss") as boss:
        digest = (await acme.put("/v1/modules", content=LOOP)).json()["digest"]
        body = {"module": digest, "export": "spin", "limits": {"timeout": 60, "fuel": 10**12}}
        job = (await acme.post("/v1/jobs", json=body)).json()
        assert job["tenant"] == "acme"
        there, nowhere = f"/v1/jobs/{job['id']}", f"/v1/jobs/{job['id'][::-1]}"
        for method, more in (("GET", ""), ("GET", "?wait=1"), ("DELETE", ""), ("GET", "/events"), ("POST", "/requeue")):
            hidden, absent = await bolt.request(method, there + more), await bolt.request(method, nowhere + more)
            assert hidden.status_code == absent.status_code == 404
            assert hidden.text.replace(job["id"], "") == absent.text.replace(job["id"][::-1], "")
        assert (await bolt.get("/v1/jobs")).json()["jobs"] == []
        assert (await bolt.get(f"/v1/jobs?ids={job['id']}")).json()["jobs"] == []
        assert [each["id"] for each in (await acme.get("/v1/jobs")).json()["jobs"]] == [job["id"]]
        assert [each["id"] for each in (await boss.get("/v1/jobs")).json()["jobs"]] == [job["id"]]
        assert (await acme.get(there)).json()["state"] in ("queued", "running")
        assert (await boss.delete(there)).status_code == 200
        assert (await acme.get(f"{there}?wait=10")).json()["outcome"]["status"] == "cancelled"


async def test_a_token_speaks_for_its_own_tenant_only(daemon):
    """To name another tenant is 403, in a body as in a query; who administers may."""
    async with daemon() as client, client("acme-2") as acme, client("boss") as boss:
        digest = (await acme.put("/v1/modules", content=MUL)).json()["digest"]
        body = {"module": digest, "export": "mul", "args": [2, 4]}
        assert (await acme.post("/v1/jobs", json=body | {"tenant": "acme"})).status_code == 202
        for response in (
            await acme.post("/v1/jobs", json=body | {"tenant": "bolt"}),
            await acme.post("/v1/jobs", json=[body, body | {"tenant": "default"}]),
            await acme.get("/v1/jobs", params={"tenant": "bolt"}),
            await acme.post("/v1/jobs", json=body | {"grant": ["env.f"]}),
            await acme.get("/v1/tenants/bolt"),
            await acme.put("/v1/tenants/acme", json={"weight": 9}),
            await acme.put("/v1/tenants/acme", json={"fuel_budget": 10**15}),
            await acme.post("/v1/tenants/acme/credit", json={"fuel": 10**15}),
            await acme.get("/v1/tenants"),
            await acme.get("/v1/modules"),
            await acme.get("/metrics"),
        ):
            assert (response.status_code, response.json()["type"]) == (403, "urn:wasmq:forbidden")
        job = (await boss.post("/v1/jobs?wait=10", json=body | {"tenant": "bolt"})).json()
        assert (job["tenant"], job["outcome"]["value"]) == ("bolt", 8)
        assert (await boss.post("/v1/jobs", json=body)).json()["tenant"] == "boss"
        assert (await boss.put("/v1/tenants/acme", json={"weight": 9})).status_code == 200
        assert (await acme.get("/v1/tenants/acme")).json()["weight"] == 9
        assert "sha256" not in (await boss.get("/v1/tenants")).text
        assert (await boss.get("/metrics")).status_code == 200
        assert (await boss.get("/v1/modules")).status_code == 200


async def test_a_tenant_has_so_many_requests_at_once(daemon, monkeypatch):
    """The one beyond `max_client_requests` is 429 with Retry-After, whichever of its tokens asks; others get in."""
    entered, leave = anyio.Event(), anyio.Event()

    async def wait(context, job_id, seconds):
        entered.set()
        await leave.wait()
        return await context.scheduler.job(job_id)

    monkeypatch.setattr(Context, "wait", wait)
    async with (
        daemon(max_client_requests=1) as client,
        client("acme-1") as first,
        client("acme-2") as second,
        client("bolt") as bolt,
        anyio.create_task_group() as tasks,
    ):
        digest = (await first.put("/v1/modules", content=MUL)).json()["digest"]
        job = (await first.post("/v1/jobs", json={"module": digest, "export": "mul", "args": [2, 4]})).json()["id"]
        tasks.start_soon(first.get, f"/v1/jobs/{job}?wait=60")
        await entered.wait()
        refused = await second.get("/v1/jobs")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["type"] == "urn:wasmq:too-many-client-requests"
        assert (await bolt.get("/v1/jobs")).status_code == 200
        leave.set()


async def test_roles_bound_what_a_token_is_good_for(daemon):
    """One who may only look submits nothing, and one who may only submit sees nothing."""
    async with daemon() as client, client("looker") as looker, client("sender") as sender:
        digest = (await sender.put("/v1/modules", content=MUL)).json()["digest"]
        body = {"module": digest, "export": "mul", "args": [2, 4]}
        job = (await sender.post("/v1/jobs", json=body)).json()["id"]
        for response in (
            await sender.get(f"/v1/jobs/{job}"),
            await sender.get("/v1/jobs"),
            await sender.post("/v1/jobs?wait=1", json=body),
            await sender.get(f"/v1/jobs/{job}/events"),
            await looker.post("/v1/jobs", json=body),
            await looker.put("/v1/modules", content=MUL),
            await looker.delete(f"/v1/jobs/{job}"),
        ):
            assert response.status_code == 403
        # A module is seen by the tenant that has brought it or run it.
        assert (await looker.get(f"/v1/modules/{digest}")).status_code == 404
        assert (await sender.delete(f"/v1/jobs/{job}")).status_code == 200


async def test_with_tokens_the_name_does_not_matter(daemon):
    """A daemon that wants tokens answers under any name; one that does not, still under loopback names only."""
    async with daemon() as client, client("acme-1") as acme:
        assert (await acme.get("/v1/jobs", headers={"Origin": "https://acme.example"})).status_code == 200
    async with daemon(tokens_required=False) as client, client("acme-1") as acme:
        response = await acme.get("/v1/jobs")
        assert (response.status_code, response.json()["type"]) == (403, "urn:wasmq:foreign-site")


@pytest.mark.parametrize(
    ("tenants", "server", "words"),
    [
        ({"a": Tenant(tokens=(hashed("x"),)), "b": Tenant(tokens=(hashed("x"),))}, {}, "there twice"),
        ({}, {"tokens_required": True}, "no tenant has a token"),
    ],
)
def test_tokens_that_make_no_sense_are_refused(tenants, server, words):
    """A token of two tenants, and tokens wanted where there are none."""
    with pytest.raises(ValueError, match=words):
        Config(tenants=tenants, server=ServerConfig(**server))


async def test_what_calls_cost_is_their_tenants_own(daemon):
    """An estimate rests on the calls of the token's tenant; only who administers has it from all, or from another."""
    async with (
        daemon() as client,
        client("acme-1") as acme,
        client("bolt") as bolt,
        client("boss") as boss,
        client("sender") as sender,
    ):
        digest = (await acme.put("/v1/modules", content=MUL)).json()["digest"]
        await bolt.put("/v1/modules", content=MUL)
        for who in (acme, bolt, bolt):
            job = {"module": digest, "export": "mul", "args": [2, 4]}
            assert (await who.post("/v1/jobs?wait=10", json=job)).status_code == 200
        path = f"/v1/modules/{digest}/estimate?export=mul"
        seen = [(await who.get(path)).json()["outcomes"] for who in (acme, bolt, boss)]
        assert seen == [1, 2, 3]
        assert (await boss.get(f"{path}&tenant=bolt")).json()["outcomes"] == 2
        assert (await acme.get(f"{path}&tenant=acme")).json()["outcomes"] == 1
        assert (await acme.get(f"{path}&tenant=bolt")).status_code == 403
        assert (await sender.get(path)).status_code == 403
        assert (await acme.get(f"{path}&x=1")).status_code == 400
        assert (await acme.get(f"/v1/modules/{digest}/estimate")).status_code == 422
        assert (await acme.get(f"/v1/modules/{'0' * 64}/estimate?export=mul")).status_code == 404
