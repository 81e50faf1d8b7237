"""What the document at /schema promises, asked of the real daemon by schemathesis."""

from __future__ import annotations

import copy
import hashlib
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import schemathesis
from daemons import daemon
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance
from watching import PATIENCE, workers

from wasmq.config import ServerConfig, load_config
from wasmq.server.guard import OPEN
from wasmq.server.openapi import document

MUL = (Path(__file__).parents[2] / "workers" / "guests" / "mul.wat").read_bytes()
DIGEST = "5f82503e21832d0eeaf25a5f967d0e887a89acc83960f836c3a8299d5daa71dd"
DOCUMENT = document(ServerConfig())
# The same, but of jobs only such as can be: so that what lies behind admission is asked too.
POSSIBLE = copy.deepcopy(DOCUMENT)
POSSIBLE["paths"] = {"/v1/jobs": POSSIBLE["paths"]["/v1/jobs"]}
POSSIBLE["components"]["schemas"]["JobRequest"]["properties"] |= {
    "module": {"const": DIGEST},
    "export": {"const": "mul"},
    "args": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 2, "maxItems": 2},
}
POSSIBLE["components"]["schemas"]["JobRequest"]["required"] = ["module", "export", "args"]
whole = schemathesis.openapi.from_dict(DOCUMENT)
possible = schemathesis.openapi.from_dict(POSSIBLE).include(method="POST")
# That a body has the right form does not make it a job: whether a module is one, and takes these arguments, is no
# matter of schemas.
NOT_ASKED = [positive_data_acceptance]
OPERATIONS = {found.ok().label: found.ok() for found in whole.get_all_operations()}
TOKENS = {"submit": "1" * 40, "observe": "2" * 40, "administer": "3" * 40}
SPIN = (Path(__file__).parents[2] / "workers" / "guests" / "loop.wat").read_bytes()
ASKS = """
(module
  (import "env" "neg" (func $neg (param i32) (result i32)))
  (func (export "ask") (result i32) (call $neg (i32.const 5))))
"""
few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
many = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@schemathesis.serializer("application/wasm")
def as_it_is(context, value):
    """Bytes are what they are; anything else is text that is no module."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Where a daemon with one worker and one module is."""
    with daemon(_config(tmp_path_factory)) as running:
        response = httpx.put(f"{running.url}/v1/modules", content=MUL)
        assert response.json()["digest"] == DIGEST
        yield running.url


def _config(tmp_path_factory, **tenants):
    settings = {
        "modules.directory": str(tmp_path_factory.mktemp("modules")),
        "scheduler.workers": 1,
        "scheduler.max_attempts": 1,
        "scheduler.grace": 0,
        "server.port": 0,
        "server.max_wait": 0.1,
        "limits.timeout": 1,
        "limits.suspend": 600,
        "tenants.paid.fuel_budget": 10**12,
        "tenants.default.grant": ["env.neg"],
        "host.functions": {"env.neg": {"path": "operator:neg", "params": ["i32"], "results": ["i32"]}},
    }
    return load_config(environ={}, overrides=settings | tenants)


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A daemon that has something of everything that a path can name."""
    with daemon(_config(tmp_path_factory)) as running, httpx.Client(base_url=running.url, timeout=PATIENCE) as client:
        assert client.put("/v1/modules", content=MUL).json()["digest"] == DIGEST
        spin = client.put("/v1/modules", content=SPIN).json()["digest"]
        body = {"module": spin, "export": "spin"}
        lost = _submitted(client, body | {"limits": {"fuel": 10**12, "timeout": 600}})
        _until(client, lost, lambda job: job.get("fuel_spent"))
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
        assert _until(client, lost, lambda job: job["outcome"])["outcome"]["status"] == "lost"
        ended = _submitted(client, {"module": DIGEST, "export": "mul", "args": [2, 4]})
        _until(client, ended, lambda job: job["outcome"])
        poor = {"limits": {"fuel": 1_000, "timeout": 600}, "on_exhausted": "suspend"}
        suspended = _submitted(client, body | poor)
        _until(client, suspended, lambda job: job.get("suspended"))
        asking = client.put("/v1/modules", content=ASKS).json()["digest"]
        recorded = _submitted(client, {"module": asking, "export": "ask", "record": True})
        _until(client, recorded, lambda job: job["outcome"])
        ids = {
            "POST /v1/jobs/{id}/requeue": lost,
            "POST /v1/jobs/{id}/refuel": suspended,
            "GET /v1/jobs/{id}/recording": recorded,
        }
        yield SimpleNamespace(url=running.url, ids=ids, ended=ended)


def _submitted(client, body):
    response = client.post("/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    return response.json()["id"]


def _until(client, job_id, condition):
    """Return a job once something holds of it."""
    end = time.monotonic() + PATIENCE
    while not condition(job := client.get(f"/v1/jobs/{job_id}?wait=0.1").json()):
        assert time.monotonic() < end, job
    return job


@whole.parametrize()
@few
def test_the_document_is_kept(case, url):
    """Whatever is sent, every answer has a status, a media type and a body that the document has."""
    case.call_and_validate(base_url=url, excluded_checks=NOT_ASKED)


@possible.parametrize()
@few
def test_jobs_that_can_be_are_described_too(case, url):
    """The same of jobs that are mostly accepted."""
    case.call_and_validate(base_url=url, excluded_checks=NOT_ASKED)


def _ask_what_is_there(operation, there, how):
    """Ask for what there is, and return the statuses that came."""
    names = {"id": there.ids.get(operation.label, there.ended), "digest": DIGEST, "name": "paid"}
    if operation.method == "put":  # which would take the account away
        names["name"] = "spare"
    refer = {"tenant": "paid", "cursor": there.ended, "ids": there.ended, "export": "mul"}
    good = {
        "PUT /v1/modules": MUL,
        "POST /v1/jobs/{id}/refuel": {"fuel": 1_000},
        "POST /v1/tenants/{name}/credit": {"fuel": 1},
    }
    answers = set()

    @how
    @given(case=operation.as_strategy())
    def ask(case):
        case.path_parameters = {name: names[name] for name in case.path_parameters or {}}
        query = case.query or {}
        case.query = {name: refer.get(name, value) for name, value in query.items()}
        case.body = good.get(operation.label, case.body)
        # What was wrong about a request may have been replaced.
        response = case.call_and_validate(base_url=there.url, excluded_checks=[*NOT_ASKED, negative_data_rejection])
        answers.add(response.status_code)

    ask()
    return answers


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_is_there_is_described_too(label, there):
    """Each operation is answered as described where paths name something, and does what it is for at least once."""
    answers = _ask_what_is_there(OPERATIONS[label], there, few)
    assert any(200 <= status < 300 for status in answers), answers


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Where a daemon is that wants tokens."""
    tenants = {
        f"tenants.{role}": {"tokens": [f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"], "roles": [role]}
        for role, token in TOKENS.items()
    }
    with daemon(_config(tmp_path_factory, **tenants)) as running:
        yield running.url


@pytest.mark.parametrize("role", [None, *TOKENS])
@whole.parametrize()
@settings(few, max_examples=4)
def test_who_may_not_is_told_as_described(case, role, guarded):
    """Without a token the answer is 401, without the role 403, and each looks as the document says."""
    headers = {} if role is None else {"Authorization": f"Bearer {TOKENS[role]}"}
    response = case.call_and_validate(base_url=guarded, headers=headers, excluded_checks=[*NOT_ASKED, ignored_auth])
    # That a path has no such method is no secret: the document is open.
    if role is None and case.operation.path not in OPEN:
        assert response.status_code in (401, 405)
    else:
        assert response.status_code != 401


@pytest.mark.slow
@pytest.mark.parametrize("label", OPERATIONS)
def test_what_is_there_at_length(label, there):
    """The same with many more requests."""
    _ask_what_is_there(OPERATIONS[label], there, many)


@pytest.mark.slow
@whole.parametrize()
@many
def test_the_document_is_kept_at_length(case, url):
    """The same with many more requests."""
    case.call_and_validate(base_url=url, excluded_checks=NOT_ASKED)


@pytest.mark.slow
@possible.parametrize()
@many
def test_jobs_at_length(case, url):
    """The same with many more jobs."""
    case.call_and_validate(base_url=url, excluded_checks=NOT_ASKED)
