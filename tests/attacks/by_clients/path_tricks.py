"""Paths that lead elsewhere once somebody has unquoted, joined or tidied them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import request, tell

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """None leads to a file, and none to a route that its own spelling would not reach."""
    for path in (
        "/../../etc/passwd",
        "/v1/../metrics",
        "/v1/jobs/../../metrics",
        "/v1/jobs/%2e%2e/%2e%2e/metrics",
        "/v1/jobs/..%2f..%2fmetrics",
        "/v1/jobs/%00",
        "/v1/jobs/%ff%fe",
        "/v1/jobs/%ED%A0%80",
        "//metrics",
        "/metrics/",
        "/METRICS",
        "/metrics;x",
        "/livez/../metrics",
        "/livez%2f..%2fmetrics",
        "/v1/modules/..%2f..%2fsecret",
        "/v1/modules/" + "a" * 10_000,
        "/v1/tenants/%2e%2e",
        "/v1/tenants/victim%00",
        "/v1/jobs?limit=1&limit=2",
        "/v1/jobs?cursor=%00",
        "/v1/jobs?cursor=%ff",
        "/v1/jobs?" + "&".join(["a=b"] * 5_000),
        "http://elsewhere.example/metrics",
        "*",
    ):
        for status in await tell(daemon, request(f"GET {path}")):
            assert status in (400, 403, 404, 405, 410, 422, 431), (path[:60], status)
