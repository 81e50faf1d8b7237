"""The routes for jobs."""

from __future__ import annotations

import base64
import math

import anyio
import httpx
import pytest

from wasmq.errors import KeyConflict, NotRefuellable, QueueFull
from wasmq.job import Frame, Outcome, Trap
from wasmq.server import build_app
from wasmq.server.context import context_of


async def submit(client, digest, **more):
    response = await client.post("/v1/jobs", json={"module": digest, "export": "mul", "args": [2, 4], **more})
    assert response.status_code == 202, response.text
    return response.json()


async def test_one_job_is_accepted_with_everything_it_asked_for(client, scheduler, digest):
    """A job's body reaches the scheduler field by field, and 202 carries the job as the contract writes it."""
    body = {
        "module": digest,
        "export": "mul",
        "args": [2, "-4"],
        "limits": {"fuel": 10_000, "memory": "1MiB", "timeout": 0.5, "output": "64KiB"},
        "tenant": "acme",
        "priority": 3,
        "key": "invoice-17",
        "delay": 1.5,
        "deadline": 60,
    }
    response = await client.post("/v1/jobs", json=body)
    assert response.status_code == 202
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "id": "job-1",
        "state": "queued",
        "module": digest,
        "export": "mul",
        "tenant": "acme",
        "attempts": 0,
        "submitted_at": "2023-11-14T22:13:20.250000Z",
        "deadline": None,
        "outcome": None,
    }
    [request] = scheduler.requests
    assert request.args == (2, -4)
    assert (request.limits.fuel, request.limits.memory) == (10_000, "1MiB")
    assert (request.limits.timeout, request.limits.output) == (0.5, "64KiB")
    assert (request.tenant, request.priority, request.key, request.delay) == ("acme", 3, "invoice-17", 1.5)
    assert request.deadline == 60.0


async def test_every_value_type_goes_in_exactly(client, scheduler, digest):
    """Arguments of every type arrive as core values, at the ends of their ranges too."""
    vector = "000102030405060708090a0b0c0d0e0F"
    args = [2**32 - 1, -(2**63), "NaN", "-Infinity", vector]
    await client.post("/v1/jobs", json={"module": digest, "export": "every", "args": args})
    i32, i64, f32, f64, v128 = scheduler.requests[0].args
    assert (i32, i64, f64, v128) == (2**32 - 1, -(2**63), -math.inf, bytes(range(16)))
    assert math.isnan(f32)


async def test_an_array_is_answered_in_its_order(client, scheduler, digest):
    """A batch is one submission, answered by an array in the same order."""
    jobs = [{"module": digest, "export": "mul", "args": [n, n], "key": f"k{n}"} for n in range(5)]
    response = await client.post("/v1/jobs", json=jobs)
    assert response.status_code == 202
    assert [job["id"] for job in response.json()] == [f"job-{n}" for n in range(1, 6)]
    assert [request.key for request in scheduler.requests] == [f"k{n}" for n in range(5)]


async def test_an_empty_array_is_no_jobs(client):
    """Nothing asked for is nothing queued."""
    response = await client.post("/v1/jobs", json=[])
    assert (response.status_code, response.json()) == (202, [])


async def test_a_batch_with_one_bad_job_queues_nothing(client, scheduler, digest):
    """A batch is all or nothing, and the refusal names the job that spoils it."""
    good = {"module": digest, "export": "mul", "args": [1, 2]}
    response = await client.post("/v1/jobs", json=[good, good | {"args": [1, None]}])
    assert response.status_code == 422
    assert response.json()["detail"].startswith("job 1: argument 2 is i32")
    assert scheduler.requests == []


async def test_a_batch_above_the_maximum_is_refused(make_scheduler, connect, digest):
    """`max_batch` jobs are taken, one more is refused."""
    scheduler = make_scheduler(max_batch=2)
    async with connect(scheduler) as client:
        job = {"module": digest, "export": "nothing"}
        assert (await client.post("/v1/jobs", json=[job] * 2)).status_code == 202
        response = await client.post("/v1/jobs", json=[job] * 3)
    assert response.status_code == 422
    assert "max_batch" in response.json()["detail"]
    assert len(scheduler.requests) == 2


async def test_the_idempotency_key_may_be_a_header(client, scheduler, digest):
    """The header is the same as `key`; both may be given when they agree."""
    body = {"module": digest, "export": "mul", "args": [2, 4]}
    await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "a"})
    await client.post("/v1/jobs", json=body | {"key": "b"}, headers={"Idempotency-Key": "b"})
    assert [request.key for request in scheduler.requests] == ["a", "b"]


@pytest.mark.parametrize(
    ("header", "key", "many"), [("a", "b", False), ("", None, False), ("x" * 256, None, False), ("a", None, True)]
)
async def test_an_ambiguous_key_is_refused(client, scheduler, digest, header, key, many):
    """Two different keys, an empty or endless one, and one key for many jobs are refused."""
    body = {"module": digest, "export": "mul", "args": [2, 4], "key": key}
    response = await client.post("/v1/jobs", json=[body] if many else body, headers={"Idempotency-Key": header})
    assert response.status_code == 422
    assert scheduler.requests == []


async def test_a_full_queue_says_when_to_come_back(client, scheduler, digest):
    """A full queue is 429 with Retry-After."""
    scheduler.failure = QueueFull("the queue is full")
    response = await client.post("/v1/jobs", json={"module": digest, "export": "nothing"})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert response.json()["type"] == "urn:wasmq:queue-full"


async def test_a_key_used_for_another_call_is_a_conflict(client, scheduler, digest):
    """The same key for another call is 409."""
    scheduler.failure = KeyConflict("key 'a' was used for another call")
    response = await client.post("/v1/jobs", json={"module": digest, "export": "nothing", "key": "a"})
    assert response.status_code == 409


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"module": "0" * 64}, 404, "unknown-module"),
        ({"export": "div"}, 422, "unknown-export"),
        ({"export": "memory"}, 422, "unknown-export"),
        ({"args": [1]}, 422, "invalid-arguments"),
        ({"args": [1, "x"]}, 422, "invalid-arguments"),
        ({"argv": [1]}, 422, "invalid-body"),
        ({"stdin": "not base64!"}, 422, "invalid-body"),
        ({"export": None}, 422, "unknown-export"),
        ({"limits": {"fuel": 1.5}}, 422, "invalid-body"),
    ],
)
async def test_a_job_that_cannot_be_is_refused(client, scheduler, digest, change, status, kind):
    """What names nothing or fits nothing is refused before it is queued, with the situation as the problem's type."""
    body = {"module": digest, "export": "mul", "args": [2, 4]} | change
    response = await client.post("/v1/jobs", json=body)
    assert (response.status_code, response.json()["type"]) == (status, f"urn:wasmq:{kind}")
    assert response.json()["status"] == status
    assert scheduler.requests == []


async def test_a_finished_job_carries_its_whole_outcome(client, scheduler, digest):
    """The outcome has the names of `Outcome`, its bytes as base64, its values as JSON can carry them."""
    job = await submit(client, digest)
    scheduler.finish(
        job["id"],
        Outcome(
            status="succeeded",
            values=(-1, 2**63 - 1, math.nan, -math.inf, bytes(range(16))),
            fuel_used=2**62 + 1,
            memory_peak=65_536,
            stdout=b"\xff\0out",
            queued=0.25,
            ran=0.5,
            attempts=1,
            worker="0",
            engine="native",
            engine_version="50",
        ),
    )
    response = await client.get(f"/v1/jobs/{job['id']}")
    assert response.status_code == 200
    body = response.json()
    values = [-1, 2**63 - 1, "NaN", "-Infinity", "000102030405060708090a0b0c0d0e0f"]
    assert (body["state"], body["attempts"]) == ("finished", 1)
    receipt = body["outcome"].pop("receipt")
    assert (receipt["module"], receipt["fuel"], len(receipt["digest"])) == (digest, 2**62 + 1, 64)
    assert body["outcome"] == {
        "status": "succeeded",
        "value": values,
        "values": values,
        "fuel_used": 2**62 + 1,
        "memory_peak": 65_536,
        "stdout": base64.b64encode(b"\xff\0out").decode(),
        "stderr": "",
        "stdout_truncated": False,
        "stderr_truncated": False,
        "files": {},
        "exit_code": None,
        "error": None,
        "trap": None,
        "queued": 0.25,
        "ran": 0.5,
        "attempts": 1,
        "worker": "0",
        "engine": "native",
        "engine_version": "50",
        "reused": None,
        "fuel_saved": 0,
    }


@pytest.mark.parametrize(("values", "value"), [((), None), ((8,), 8), ((0,), 0), ((1, 2), [1, 2])])
async def test_the_value_is_none_one_or_several(client, scheduler, digest, values, value):
    """`value` is null, the value itself or an array, as many as the export returns; zero is a value."""
    job = await submit(client, digest)
    scheduler.finish(job["id"], Outcome(status="succeeded", values=values))
    outcome = (await client.get(f"/v1/jobs/{job['id']}")).json()["outcome"]
    assert outcome["value"] == value
    assert outcome["values"] == list(values)


async def test_a_trap_comes_with_its_backtrace(client, scheduler, digest):
    """A trapped job's outcome has the trap's code and frames."""
    job = await submit(client, digest)
    trap = Trap(code="unreachable", backtrace=(Frame(function=1, name=None, offset=52),))
    scheduler.finish(job["id"], Outcome(status="trapped", error="unreachable", trap=trap))
    outcome = (await client.get(f"/v1/jobs/{job['id']}")).json()["outcome"]
    assert outcome["trap"] == {"code": "unreachable", "backtrace": [{"function": 1, "name": None, "offset": 52}]}


async def test_waiting_answers_when_the_job_has_finished(client, scheduler, digest):
    """A request that waits is answered by the finished job."""
    job = await submit(client, digest)
    answers = []

    async def wait():
        answers.append(await client.get(f"/v1/jobs/{job['id']}?wait=30"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await scheduler.waiting.wait()
        scheduler.finish(job["id"], Outcome(status="succeeded", values=(8,)))
    assert answers[0].json()["outcome"]["value"] == 8


async def test_waiting_ends_with_the_time(client, digest):
    """A request whose time is up is answered by the job as it is."""
    job = await submit(client, digest)
    response = await client.get(f"/v1/jobs/{job['id']}?wait=0.01")
    assert (response.status_code, response.json()["state"]) == (200, "queued")


async def test_waiting_longer_than_allowed_is_clamped(make_scheduler, connect, digest):
    """`wait` above `max_wait` waits `max_wait`."""
    scheduler = make_scheduler(max_wait=0.01)
    async with connect(scheduler) as client:
        job = await submit(client, digest)
        assert (await client.get(f"/v1/jobs/{job['id']}?wait=1e9")).status_code == 200
    assert scheduler.waited == [0.01]


async def test_closing_lets_waiting_requests_answer(scheduler, digest):
    """When the daemon stops, whoever waits is answered at once with the job as it is, and nobody waits any more."""
    app = build_app(scheduler)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
        job = await submit(client, digest)
        answers = []

        async def wait():
            answers.append(await client.get(f"/v1/jobs/{job['id']}?wait=60"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await scheduler.waiting.wait()
            context_of(app).close()
        await wait()
    assert [answer.json()["state"] for answer in answers] == ["queued", "queued"]
    assert scheduler.waited == [60.0]


@pytest.mark.parametrize("wait", ["", "-1", "nan", "inf", "soon"])
async def test_a_wait_that_is_no_time_is_refused(client, digest, wait):
    """`wait` is a finite number of seconds, not negative."""
    job = await submit(client, digest)
    response = await client.get(f"/v1/jobs/{job['id']}", params={"wait": wait})
    assert (response.status_code, response.json()["type"]) == (400, "urn:wasmq:invalid-query")


@pytest.mark.parametrize(("method", "query"), [("GET", ""), ("GET", "?wait=1"), ("DELETE", "")])
async def test_an_unknown_job_is_not_found(client, method, query):
    """An id that names no job is 404."""
    response = await client.request(method, f"/v1/jobs/nobody{query}")
    assert (response.status_code, response.json()["type"]) == (404, "urn:wasmq:unknown-job")


async def test_a_job_that_runs_says_how_far_it_is(client, scheduler, digest):
    """What a running job has spent and whether it is suspended is said of no other job, and only where it is known."""
    job = await submit(client, digest)
    assert not {"suspended", "fuel_spent"} & job.keys()
    scheduler.run(job["id"])
    job = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert (job["state"], job["suspended"], "fuel_spent" in job) == ("running", False, False)
    scheduler.run(job["id"], suspended=True, fuel_spent=7)
    job = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert (job["state"], job["suspended"], job["fuel_spent"]) == ("running", True, 7)


@pytest.mark.parametrize("fuel", [5, "5"], ids=repr)
async def test_refuelling_answers_what_it_may_spend_in_all(client, digest, fuel):
    """The body's fuel, a number or digits, reaches the job."""
    job = await submit(client, digest, on_exhausted="suspend", limits={"suspend": 2.5})
    response = await client.post(f"/v1/jobs/{job['id']}/refuel", json={"fuel": fuel})
    assert (response.status_code, response.json()) == (200, {"id": job["id"], "fuel": 6})


async def test_the_wish_to_be_suspended_reaches_the_scheduler(client, scheduler, digest):
    """`on_exhausted` and its time are passed on; another word is refused with its place."""
    await submit(client, digest, on_exhausted="suspend", limits={"suspend": 2.5})
    [request] = scheduler.requests
    assert (request.on_exhausted, request.limits.suspend) == ("suspend", 2.5)
    body = {"module": digest, "export": "mul", "args": [2, 4], "on_exhausted": "wait"}
    response = await client.post("/v1/jobs", json=body)
    assert (response.status_code, "$.on_exhausted" in response.json()["detail"]) == (422, True)


@pytest.mark.parametrize("body", [b"{}", b'{"fuel": 1.5}', b'{"fuel": null}', b'{"fuel": "x"}', b'{"fuel": 1, "x": 1}'])
async def test_fuel_that_is_none_is_refused(client, digest, body):
    """A body that does not say how much is 422 with the place, one that is no JSON 400."""
    job = await submit(client, digest)
    response = await client.post(f"/v1/jobs/{job['id']}/refuel", content=body)
    assert response.status_code == 422
    assert (await client.post(f"/v1/jobs/{job['id']}/refuel", content=b"{")).status_code == 400


async def test_a_job_that_cannot_be_refuelled_is_a_conflict(client, scheduler, digest):
    """409 says why; a job that is not there is 404."""
    job = await submit(client, digest)
    scheduler.failure = NotRefuellable("it has ended already")
    response = await client.post(f"/v1/jobs/{job['id']}/refuel", json={"fuel": 1})
    assert (response.status_code, response.json()["type"]) == (409, "urn:wasmq:not-refuellable")
    assert (await client.post("/v1/jobs/nobody/refuel", json={"fuel": 1})).status_code == 404


async def test_cancelling_returns_the_job(client, scheduler, digest):
    """DELETE cancels; again, or after the end, it changes nothing and is no error."""
    job = await submit(client, digest)
    for _ in range(2):
        response = await client.delete(f"/v1/jobs/{job['id']}")
        assert (response.status_code, response.json()["outcome"]["status"]) == (200, "cancelled")
    done = await submit(client, digest)
    scheduler.finish(done["id"], Outcome(status="succeeded"))
    assert (await client.delete(f"/v1/jobs/{done['id']}")).json()["outcome"]["status"] == "succeeded"


async def test_pages_show_every_job_once(client, digest):
    """Following the cursors shows every job once, newest first, and the last page has none."""
    for _ in range(5):
        await submit(client, digest)
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/jobs", params=params)).json()
        seen.append([job["id"] for job in page["jobs"]])
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == [["job-5", "job-4"], ["job-3", "job-2"], ["job-1"]]


async def test_a_page_that_would_be_too_large_ends_early(make_scheduler, connect, digest):
    """Jobs with much output fill a page before its limit, and the cursor goes on after the last one shown."""
    scheduler = make_scheduler(max_body=2_000)
    async with connect(scheduler) as client:
        for _ in range(3):
            job = await submit(client, digest)
            scheduler.finish(job["id"], Outcome(status="succeeded", stdout=b"x" * 1_000))
        page = (await client.get("/v1/jobs")).json()
        assert [job["id"] for job in page["jobs"]] == ["job-3"]
        assert page["cursor"] == "job-3"


async def test_jobs_are_listed_by_tenant_and_status(client, scheduler, digest):
    """`tenant` and `status` narrow the list; a status is a state or how a job ended."""
    first = await submit(client, digest, tenant="acme")
    second = await submit(client, digest)
    scheduler.finish(first["id"], Outcome(status="trapped"))

    async def ids(**params):
        return [job["id"] for job in (await client.get("/v1/jobs", params=params)).json()["jobs"]]

    assert await ids(tenant="acme") == [first["id"]]
    assert await ids(status="trapped") == await ids(status="finished") == [first["id"]]
    assert await ids(status="queued") == [second["id"]]
    assert await ids(tenant="nobody") == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=²", "status=done", "tennant=a", "limit=1&limit=2"]
)
async def test_a_query_that_does_not_fit_is_refused(client, query):
    """Unknown, repeated and impossible parameters are refused rather than ignored."""
    response = await client.get(f"/v1/jobs?{query}")
    assert (response.status_code, response.json()["type"]) == (400, "urn:wasmq:invalid-query")


async def test_a_page_behind_a_job_that_is_gone_is_said_so(client, scheduler, digest):
    """When the job at a page's end has left the history, the next page is 410 and not an empty one."""
    await submit(client, digest)
    response = await client.get("/v1/jobs", params={"cursor": "job-99"})
    assert (response.status_code, response.json()["type"]) == (410, "urn:wasmq:cursor-gone")


async def test_jobs_are_asked_for_by_their_ids(client, scheduler, digest):
    """`ids` gives just these jobs in its order, without those that are unknown; with `wait` once all have finished."""
    jobs = [(await submit(client, digest))["id"] for _ in range(3)]
    response = await client.get("/v1/jobs", params={"ids": f"{jobs[2]},nobody,{jobs[0]}"})
    assert [job["id"] for job in response.json()["jobs"]] == [jobs[2], jobs[0]]
    async with anyio.create_task_group() as tasks:

        async def finish():
            await scheduler.waiting.wait()
            scheduler.finish(jobs[0], Outcome(status="succeeded"))

        tasks.start_soon(finish)
        response = await client.get("/v1/jobs", params={"ids": jobs[0], "wait": "30"})
    assert response.json()["jobs"][0]["outcome"]["status"] == "succeeded"
    for query in ({"ids": jobs[0], "limit": "3"}, {"wait": "1"}, {"ids": ",".join(["a"] * 1001)}):
        response = await client.get("/v1/jobs", params=query)
        assert (response.status_code, response.json()["type"]) == (400, "urn:wasmq:invalid-query")


async def test_requests_that_wait_are_bounded(make_scheduler, connect, digest):
    """Beyond `max_requests` the next one is 503 with Retry-After, but the probes are answered."""
    scheduler = make_scheduler(max_requests=1)
    async with connect(scheduler) as client:
        job = await submit(client, digest)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.get, f"/v1/jobs/{job['id']}?wait=30")
            await scheduler.waiting.wait()
            response = await client.get("/v1/jobs")
            assert (response.status_code, response.json()["type"]) == (503, "urn:wasmq:too-many-requests")
            assert response.headers["retry-after"] == "1"
            assert (await client.get("/livez")).status_code == 200
            scheduler.finish(job["id"], Outcome(status="succeeded"))
        assert (await client.get("/v1/jobs")).status_code == 200
