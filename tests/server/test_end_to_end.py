"""HTTP over the real scheduler, its workers and its store."""

from __future__ import annotations

import base64
import math
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from wasmq import Scheduler, load_config
from wasmq.server import build_app

GUESTS = Path(__file__).parents[2] / "workers" / "guests"


@pytest.fixture
def daemon(tmp_path):
    """Return a context manager: a client of a daemon with one worker and an empty module directory."""

    # Entered in the test's own task, because a scheduler must end in the task that started it.
    @asynccontextmanager
    async def daemon():
        config = load_config(environ={}, overrides={"modules.directory": str(tmp_path), "scheduler.workers": 1})
        async with Scheduler(config=config) as scheduler:
            transport = httpx.ASGITransport(app=build_app(scheduler))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                yield client

    return daemon


async def load(client, guest):
    response = await client.put("/v1/modules", content=(GUESTS / guest).read_bytes())
    assert response.status_code == 200, response.text
    return response.json()


async def run(client, **body):
    response = await client.post("/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    response = await client.get(f"/v1/jobs/{response.json()['id']}?wait=30")
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_product_by_http(daemon):
    """A module goes in, a call of it comes out with its value and its exact bill, and the metrics count it."""
    async with daemon() as client:
        module = await load(client, "mul.wat")
        assert module["exports"] == [
            {"name": "mul", "type": {"kind": "function", "params": ["i32", "i32"], "results": ["i32"]}}
        ]
        assert (await client.get("/v1/modules")).json() == {"modules": [module]}
        job = await run(client, module=module["digest"], export="mul", args=[2, "4"], tenant="acme", key="once")
        assert (job["state"], job["attempts"], job["tenant"]) == ("finished", 1, "acme")
        outcome = job["outcome"]
        assert (outcome["status"], outcome["value"], outcome["fuel_used"]) == ("succeeded", 8, 4)
        again = await run(client, module=module["digest"], export="mul", args=[2, 4], tenant="acme", key="once")
        assert again == job
        assert outcome["receipt"]["deterministic"] is True
        listed = job | {"outcome": outcome | {"receipt": None}}
        assert (await client.get("/v1/jobs", params={"tenant": "acme"})).json() == {"jobs": [listed], "cursor": None}
        metrics = (await client.get("/metrics")).text
        assert 'wasmq_jobs_finished_total{status="succeeded",tenant="acme"} 1.0' in metrics


async def test_every_value_type_goes_round(daemon):
    """Values of every type come back as they were given, not-a-number and the ends of the ranges too."""
    async with daemon() as client:
        module = await load(client, "values.wat")
        vector = "000102030405060708090a0b0c0d0e0f"
        args = [2**32 - 1, str(2**63 - 1), "Infinity", "NaN", vector]
        job = await run(client, module=module["digest"], export="all", args=args)
        assert job["outcome"]["value"] == [vector, "NaN", "Infinity", 2**63 - 1, -1]
        job = await run(client, module=module["digest"], export="f64", args=[math.pi])
        assert job["outcome"]["value"] == math.pi


async def test_a_batch_keeps_its_order(daemon):
    """The jobs of an array are accepted together and each has its own outcome, in the order asked."""
    async with daemon() as client:
        digest = (await load(client, "mul.wat"))["digest"]
        response = await client.post(
            "/v1/jobs", json=[{"module": digest, "export": "mul", "args": [n, n]} for n in range(50)]
        )
        assert response.status_code == 202
        jobs = [(await client.get(f"/v1/jobs/{job['id']}?wait=30")).json() for job in response.json()]
        assert [job["outcome"]["value"] for job in jobs] == [n * n for n in range(50)]


async def test_a_running_job_is_cancelled(daemon):
    """DELETE ends a job in the middle of a loop."""
    async with daemon() as client:
        digest = (await load(client, "loop.wat"))["digest"]
        response = await client.post("/v1/jobs", json={"module": digest, "export": "spin", "limits": {"timeout": 60}})
        job = response.json()["id"]
        assert (await client.delete(f"/v1/jobs/{job}")).status_code == 200
        outcome = (await client.get(f"/v1/jobs/{job}?wait=30")).json()["outcome"]
        assert outcome["status"] == "cancelled"


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"args": [1, 2**32]}, 422, "invalid-arguments"),
        ({"limits": {"fuel": 10**15}}, 422, "limit-too-high"),
        ({"limits": {"fuel": 0}}, 422, "invalid-limit"),
        ({"limits": {"memory": "lots"}}, 422, "invalid-limit"),
        ({"tenant": "a\nb"}, 422, "invalid-arguments"),
        ({"module": "mul"}, 404, "unknown-module"),
        ({"export": "div"}, 422, "unknown-export"),
    ],
)
async def test_what_the_scheduler_refuses_is_a_problem(daemon, change, status, kind):
    """Admission's own refusals come out with their status and their line."""
    async with daemon() as client:
        digest = (await load(client, "mul.wat"))["digest"]
        response = await client.post("/v1/jobs", json={"module": digest, "export": "mul", "args": [2, 4]} | change)
        assert (response.status_code, response.json()["type"]) == (status, f"urn:wasmq:{kind}")


LOOKUP = b"""(module
  (import "env" "lookup" (func $lookup (param i32) (result i32)))
  (func (export "look") (param i32) (result i32) (call $lookup (local.get 0))))"""


async def test_a_host_function_is_for_tenants_that_were_granted_it(tmp_path):
    """A job by HTTP can call it and spends its calls; another tenant is refused, unless its job was granted it."""
    overrides = {
        "modules.directory": str(tmp_path),
        "scheduler.workers": 1,
        "host.functions": {"env.lookup": {"path": "operator:neg", "params": ["i32"], "results": ["i32"]}},
        "tenants.acme.grant": ["env.lookup"],
    }
    async with Scheduler(config=load_config(environ={}, overrides=overrides)) as scheduler:
        transport = httpx.ASGITransport(app=build_app(scheduler))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            digest = (await client.put("/v1/modules", content=LOOKUP)).json()["digest"]
            call = {"module": digest, "export": "look", "args": [7]}
            job = await run(client, **call, tenant="acme", limits={"host_calls": 1})
            assert job["outcome"]["value"] == -7
            refused = await client.post("/v1/jobs", json=call)
            assert (refused.status_code, refused.json()["type"]) == (422, "urn:wasmq:unsatisfied-import")
            assert "not granted to tenant 'default'" in refused.json()["detail"]
            granted = await run(client, **call, grant=["env.lookup"])
            assert granted["outcome"]["value"] == -7
            await client.put("/v1/tenants/default", json={"grant": ["env.lookup"]})
            assert (await run(client, **call))["outcome"]["value"] == -7


async def test_a_class_that_there_is_none_of_is_refused(daemon):
    """The answer names the tenant and the class, and nothing has changed."""
    async with daemon() as client:
        before = (await client.get("/v1/tenants")).json()
        response = await client.put("/v1/tenants/acme", json={"class": "nope"})
        assert (response.status_code, response.json()["type"]) == (422, "urn:wasmq:invalid-arguments")
        assert "class: 'nope' is none of scheduler.classes" in response.json()["detail"]
        assert (await client.get("/v1/tenants")).json() == before


async def test_a_daemon_that_runs_is_live_and_ready(daemon):
    """The probes answer for the real loops."""
    async with daemon() as client:
        assert (await client.get("/livez")).json() == {"live": True}
        assert (await client.get("/readyz")).json() == {"ready": True}


async def test_what_is_no_module_is_refused(daemon):
    """Bytes that do not compile are 422 with the reason."""
    async with daemon() as client:
        response = await client.put("/v1/modules", content=b"\0asm\x01\0\0\0junk")
        assert (response.status_code, response.json()["type"]) == (422, "urn:wasmq:invalid-module")


async def test_a_program_by_http(daemon):
    """A WASI command gets arguments, environment, input and files by HTTP, and its output and files come back."""
    async with daemon() as client:
        hello = await load(client, "wasi/hello.wasm")
        assert {each["module"] for each in hello["imports"]} == {"wasi_snapshot_preview1"}
        job = await run(
            client,
            module=hello["digest"],
            argv=["-n"],
            env={"NAME": "x"},
            stdin=base64.b64encode(b"abc").decode(),
            name="hello",
        )
        outcome = job["outcome"]
        printed = base64.b64decode(outcome["stdout"]).decode().splitlines()
        assert printed == ["argument 0: hello", "argument 1: -n", "NAME=x", "ABC"]
        assert (outcome["status"], outcome["exit_code"], job["export"]) == ("exited", 2, "_start")
        files = await load(client, "wasi/files.wasm")
        brought = {"in.txt": base64.b64encode(b"a b").decode()}
        job = await run(client, module=files["digest"], files=brought, collect=["out.txt"])
        assert job["outcome"]["files"] == {"out.txt": base64.b64encode(b"b a").decode()}
        response = await client.post("/v1/jobs", json={"module": files["digest"], "files": {"../x": ""}})
        assert (response.status_code, response.json()["type"]) == (422, "urn:wasmq:invalid-arguments")
        assert "tries to leave" in response.json()["detail"]


async def test_run_and_wait_in_one_request(daemon):
    """POST with `wait` is answered with the outcome and 200, or with the job as it is and 202 when time is over."""
    async with daemon() as client:
        mul, loop = (await load(client, "mul.wat"))["digest"], (await load(client, "loop.wat"))["digest"]
        product = {"module": mul, "export": "mul", "args": [2, 4]}
        response = await client.post("/v1/jobs?wait=30", json=product)
        assert (response.status_code, response.json()["outcome"]["value"]) == (200, 8)
        assert (await client.get(f"/v1/jobs/{response.json()['id']}")).json() == response.json()
        response = await client.post("/v1/jobs?wait=30", json=[product] * 20)
        assert response.status_code == 200
        assert [job["outcome"]["value"] for job in response.json()] == [8] * 20
        spin = {"module": loop, "export": "spin", "limits": {"timeout": 60, "fuel": 10**12}}
        response = await client.post("/v1/jobs?wait=0.05", json=[product, spin])
        assert response.status_code == 202
        done, running = response.json()
        assert (done["outcome"]["value"], running["outcome"]) == (8, None)
        await client.delete(f"/v1/jobs/{running['id']}")
        once = product | {"key": "once"}
        first, again = [(await client.post("/v1/jobs?wait=30", json=once)).json() for _ in range(2)]
        assert first == again


async def test_a_batch_waits_no_longer_than_its_answer_may_be(tmp_path):
    """Of a batch only so many outcomes come back at once as fit a body; the others are told as they were accepted."""
    overrides = {"modules.directory": str(tmp_path), "scheduler.workers": 1, "server.max_body": 20_000}
    async with Scheduler(config=load_config(environ={}, overrides=overrides)) as scheduler:
        transport = httpx.ASGITransport(app=build_app(scheduler))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            module = await scheduler.load(GUESTS / "mul.wat")
            body = {"module": module.digest, "export": "mul", "args": [2, 4]}
            response = await client.post("/v1/jobs?wait=30", json=[body] * 100)
        assert response.status_code == 202
        finished = [job["state"] == "finished" for job in response.json()]
        assert finished == sorted(finished, reverse=True)
        assert 0 < sum(finished) < 100


async def test_linked_modules_by_http(daemon):
    """A job names the digests of the modules that satisfy its imports."""
    async with daemon() as client:
        digests = []
        for text in (
            '(module (memory (export "memory") 1) (data (i32.const 4) "\\2a"))',
            '(module (import "env" "memory" (memory 1)) (func (export "f") (result i32) (i32.load (i32.const 4))))',
        ):
            response = await client.put("/v1/modules", content=text)
            digests.append(response.json()["digest"])
        job = await run(client, module=digests[1], export="f", link={"env": digests[0]})
        assert job["outcome"]["value"] == 42
        refused = await client.post("/v1/jobs", json={"module": digests[1], "export": "f", "link": {"env": "0" * 64}})
        assert refused.status_code >= 400
        assert "no module with digest" in refused.json()["detail"]


async def test_null_references_by_http(daemon):
    """null goes in for a reference; one that is not null comes out as its kind."""
    async with daemon() as client:
        text = """(module (func $f (export "f") (param externref) (result externref funcref)
          (local.get 0) (ref.func $f)))"""
        response = await client.put("/v1/modules", content=text)
        job = await run(client, module=response.json()["digest"], export="f", args=[None])
    assert job["outcome"]["values"] == [None, "funcref"]
