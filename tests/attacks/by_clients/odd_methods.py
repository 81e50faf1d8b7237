"""Methods that nobody offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import request, tell

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """They are refused, on every path, and nothing is sent back of what came."""
    for method in ("TRACE", "CONNECT", "PROPFIND", "PATCH", "HEAD", "get", "G\xc3T", "X" * 1_000, "QUERY", "PURGE"):
        for path in ("/v1/jobs", "/v1/modules/x", "/metrics", "/"):
            for status in await tell(daemon, request(f"{method} {path}", "X-Secret: told")):
                assert status in (400, 403, 404, 405, 431), (method[:20], path, status)
