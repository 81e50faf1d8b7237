"""What the document at /schema promises, asked of the real daemon by schemathesis."""

from __future__ import annotations

import copy
from pathlib import Path

import httpx
import pytest
import schemathesis
from daemons import daemon
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from wasmq.config import ServerConfig, load_config
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
few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
many = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@schemathesis.serializer("application/wasm")
def as_it_is(context, value):
    """Bytes are what they are; anything else is text that is no module."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Where a daemon with one worker and one module is."""
    settings = {
        "modules.directory": str(tmp_path_factory.mktemp("modules")),
        "scheduler.workers": 1,
        "server.port": 0,
        "server.max_wait": 0.1,
        "limits.timeout": 1,
    }
    with daemon(load_config(environ={}, overrides=settings)) as running:
        response = httpx.put(f"{running.url}/v1/modules", content=MUL)
        assert response.json()["digest"] == DIGEST
        yield running.url


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
