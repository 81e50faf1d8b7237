"""The routes for modules, tenants, health, and the document that describes them all."""

from __future__ import annotations

import re

import msgspec
import pytest

from wasmq.config import Tenant
from wasmq.errors import InvalidModule
from wasmq.server import build_app
from wasmq.server.bodies import JobPage
from wasmq.server.modules import ModuleBody, ModuleList
from wasmq.server.openapi import document


async def test_a_module_is_put_and_found_again(client):
    """PUT answers with what the module exports and imports, and GET finds the same under its digest."""
    put = await client.put("/v1/modules", content=b"\0asm!", headers={"Content-Type": "application/wasm"})
    assert put.status_code == 200
    body = put.json()
    assert (body["kind"], body["size"]) == ("module", 5)
    assert body["exports"][0] == {
        "name": "mul",
        "type": {"kind": "function", "params": ["i32", "i32"], "results": ["i32"]},
    }
    assert [each["type"]["kind"] for each in body["exports"][3:]] == ["memory", "table", "global", "tag"]
    assert body["exports"][3]["type"]["maximum"] == 16
    assert body["imports"][0] == {
        "module": "env",
        "name": "now",
        "type": {"kind": "function", "params": [], "results": ["i64"]},
        "satisfied": False,
    }
    assert (await client.get(f"/v1/modules/{body['digest']}")).json() == body
    assert body in (await client.get("/v1/modules")).json()["modules"]


async def test_what_is_no_module_is_refused(client, scheduler):
    """Bytes that are no module are 422 with the reason."""
    response = await client.put("/v1/modules", content=b"ELF")
    assert (response.status_code, response.json()["type"]) == (422, "urn:wasmq:invalid-module")
    scheduler.failure = InvalidModule("module: takes too long to compile")
    response = await client.put("/v1/modules", content=b"\0asm")
    assert response.json()["detail"] == "module: takes too long to compile"


async def test_an_unknown_module_is_not_found(client):
    """A digest that names nothing is 404."""
    response = await client.get(f"/v1/modules/{'0' * 64}")
    assert (response.status_code, response.json()["type"]) == (404, "urn:wasmq:unknown-module")


async def test_a_tenant_is_set_and_read(client, scheduler):
    """PUT sets a tenant's share, GET reads it, and one that nobody configured has the defaults."""
    defaults = {
        "weight": 1.0,
        "max_queued": None,
        "max_running": None,
        "memory": None,
        "fuel_budget": None,
        "fuel_period": None,
        "fuel_burst": None,
        "fuel_rate": None,
        "on_empty": "hold",
        "grant": [],
        "class": None,
        "reuse": "never",
        "record": False,
        "account": None,
    }
    assert (await client.get("/v1/tenants/acme")).json() == defaults | {"weight": 2.0}
    assert (await client.get("/v1/tenants/new")).json() == defaults
    share = {"weight": 3, "max_queued": 10, "grant": ["env.f"]}
    response = await client.put("/v1/tenants/new", json=share)
    assert (response.status_code, response.json()) == (200, defaults | share)
    assert scheduler.tenants()["new"] == Tenant(weight=3.0, max_queued=10, grant=("env.f",))


@pytest.mark.parametrize("body", [{"weight": 0}, {"wieght": 1}, {"max_queued": 0}, []])
async def test_a_tenant_that_cannot_be_is_refused(client, scheduler, body):
    """Unknown fields and impossible shares are 422 and change nothing."""
    assert (await client.put("/v1/tenants/acme", json=body)).status_code == 422
    assert scheduler.tenants()["acme"] == Tenant(weight=2.0)


@pytest.mark.parametrize("name", ["a%0Ab", "x" * 201])
async def test_a_tenant_needs_a_name_that_can_be_shown(client, name):
    """Names with control characters, or without end, are refused."""
    assert (await client.get(f"/v1/tenants/{name}")).status_code == 422
    assert (await client.put(f"/v1/tenants/{name}", json={})).status_code == 422


async def test_health_follows_the_scheduler(client, scheduler):
    """The probes are 200 while it is so and 503 with the reason when it is not; what is not ready may still be live."""

    async def probes():
        answers = [await client.get(path) for path in ("/livez", "/readyz")]
        return [(answer.status_code, answer.json()) for answer in answers]

    assert await probes() == [(200, {"live": True}), (200, {"ready": True})]
    scheduler.problem = "no worker process is ready"
    assert await probes() == [(200, {"live": True}), (503, {"ready": False, "reason": scheduler.problem})]
    scheduler.live = False
    scheduler.problem = "the store does not answer"
    assert await probes() == [
        (503, {"live": False, "reason": scheduler.problem}),
        (503, {"ready": False, "reason": scheduler.problem}),
    ]


async def test_metrics_are_in_the_text_format(client):
    """The metrics come as the scheduler renders them, with the text format's media type."""
    response = await client.get("/metrics")
    assert response.content == b"wasmq_workers 2\n"
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_every_route_is_described(client, scheduler):
    """The document has exactly the routes and methods that the application answers, and no reference leads nowhere."""
    described = (await client.get("/schema")).json()
    assert described["openapi"].startswith("3.1")
    routes = {
        (re.sub(r"\{[^}]*\}", "{}", route.path), method.lower())
        for route in build_app(scheduler).routes
        for method in route.methods - {"OPTIONS"}
    }
    operations = {
        (re.sub(r"\{[^}]*\}", "{}", path), method)
        for path, item in described["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert operations == routes
    references = re.findall(r'"\$ref":"#/components/schemas/([^"]*)"', msgspec.json.encode(described).decode())
    assert set(references) <= set(described["components"]["schemas"])


def test_the_description_knows_what_is_refused(scheduler):
    """Request bodies are closed: a field that is refused is not described, and the batch's limit is."""
    described = document(scheduler.config.server)
    schemas = described["components"]["schemas"]
    for name in ("JobRequest", "LimitsRequest", "Tenant"):
        assert schemas[name]["additionalProperties"] is False
    _, many = described["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert many["maxItems"] == scheduler.config.server.max_batch


async def test_responses_have_the_described_shape(client, digest):
    """What comes back decodes as the struct that the document was made from."""
    await client.post("/v1/jobs", json=[{"module": digest, "export": "nothing"}] * 2)
    assert len(msgspec.json.decode((await client.get("/v1/jobs")).content, type=JobPage).jobs) == 2
    modules = msgspec.json.decode((await client.get("/v1/modules")).content, type=ModuleList)
    assert msgspec.json.decode((await client.get(f"/v1/modules/{digest}")).content, type=ModuleBody) in modules.modules
