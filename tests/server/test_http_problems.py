"""Errors as problem details."""

from __future__ import annotations

import pytest

from wasmq import errors
from wasmq.server.problems import STATUSES


def refusals():
    named = [getattr(errors, name) for name in errors.__all__]
    return [
        kind
        for kind in named
        if isinstance(kind, type) and issubclass(kind, errors.Refused) and kind is not errors.Refused
    ]


@pytest.mark.parametrize("kind", refusals(), ids=lambda kind: kind.__name__)
async def test_every_refusal_is_a_problem(client, scheduler, digest, kind):
    """Whatever the scheduler refuses has a status below 500 or is 503, a type of its own, and the scheduler's line."""
    scheduler.failure = kind("because of that")
    response = await client.post("/v1/jobs", json={"module": digest, "export": "nothing"})
    assert response.status_code == STATUSES[kind]
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["type"].startswith("urn:wasmq:")
    assert (problem["status"], problem["detail"]) == (response.status_code, "because of that")


async def test_the_unexpected_says_nothing_of_the_inside(client, scheduler, digest):
    """An error that nobody foresaw is 500 without its text."""
    scheduler.failure = RuntimeError("secret path")
    response = await client.post("/v1/jobs", json={"module": digest, "export": "nothing"})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text


async def test_what_is_not_json_is_told_apart(client):
    """A body that is not JSON is 400."""
    response = await client.post("/v1/jobs", content=b"{nope")
    assert (response.status_code, response.json()["type"]) == (400, "urn:wasmq:malformed-body")


async def test_a_path_without_a_route_is_a_problem(client):
    """An unknown path is 404 as a problem."""
    response = await client.get("/v2/jobs")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert response.json()["type"] == "about:blank"


async def test_a_wrong_method_names_the_right_ones(client):
    """A method that a path does not have is 405 with Allow."""
    response = await client.patch("/v1/jobs")
    assert (response.status_code, response.headers["content-type"]) == (405, "application/problem+json")
    assert {"GET", "POST"} <= set(response.headers["allow"].split(", "))


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/jobs"), ("PUT", "/v1/modules"), ("PUT", "/v1/tenants/a")])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused(make_scheduler, connect, method, path, chunked):
    """The limit holds for a body that says its length and for one that comes in chunks without saying it."""

    async def chunks():
        for _ in range(5):
            yield b" " * 30

    async with connect(make_scheduler(max_body=100)) as client:
        response = await client.request(method, path, content=chunks() if chunked else b" " * 101)
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
