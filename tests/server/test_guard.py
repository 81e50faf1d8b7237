"""The guard: what a browser sends for somebody else's page is refused, what programs send is not."""

import pytest

from wasmq.server.guard import is_loopback


@pytest.mark.parametrize("host", ["localhost", "localhost:8787", "127.0.0.1", "127.9.9.9:80", "[::1]:8787"])
async def test_programs_on_this_machine_are_served(client, host):
    """Every loopback name is as good as another."""
    assert (await client.get("/livez", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "192.0.2.1:8787"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
    ],
)
async def test_a_page_of_another_site_is_refused(client, headers):
    """A request with a foreign Host or Origin is answered 403 with a problem, whatever it asks for."""
    for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("PUT", "/v1/modules"), ("GET", "/metrics")):
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == 403


async def test_a_page_of_the_daemon_itself_is_served(client):
    """An Origin that is this machine is no other site."""
    assert (await client.get("/livez", headers={"Origin": "http://127.0.0.1:8787"})).status_code == 200


@pytest.mark.parametrize("url", ["", "//", "//[", "//:80", "//localhost.", "http://0x7f.1", "//1.2.3.4"])
def test_what_is_no_loopback_name_is_none(url):
    """Anything that cannot be read as a loopback host is foreign, and reading it never raises."""
    assert not is_loopback(url)
