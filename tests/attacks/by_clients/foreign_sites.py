"""Requests as another site's page would send them: a foreign Host, a foreign Origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import connection, request, tell

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """Where tokens are wanted, a page gets nothing without one, and no answer invites it to read."""
    for header in ("Origin: https://evil.example", "Host: evil.example", "Origin: null", "X-Forwarded-For: 127.0.0.1"):
        head = f"GET /v1/jobs HTTP/1.1\r\n{header}\r\nConnection: close\r\n\r\n"
        assert await tell(daemon, head.encode()) == [401], header
    for line in ("GET /v1/jobs", "OPTIONS /v1/jobs"):
        async with connection(daemon) as raw:
            method = "Access-Control-Request-Method: POST"
            await raw.say(request(line, "Origin: https://evil.example", method))
            answer = await raw.answer()
            assert answer is not None
            assert not any(name.startswith("access-control") for name in answer.headers)
