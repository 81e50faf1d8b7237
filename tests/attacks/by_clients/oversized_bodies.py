"""Bodies above the limit, declared or in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import MAX_BODY, connection, request

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """They are refused, and what was declared is not waited for."""
    for path in ("POST /v1/jobs", "PUT /v1/modules"):
        async with connection(daemon) as raw:
            await raw.say(request(path, f"Content-Length: {10 * MAX_BODY}"))
            answer = await raw.answer()
            assert answer is not None
            assert answer.status in (408, 413)
        async with connection(daemon) as raw:
            await raw.say(request(path, "Transfer-Encoding: chunked"))
            chunk = b"%x\r\n%b\r\n" % (2**16, bytes(2**16))
            for _ in range(2 * MAX_BODY // 2**16):
                await raw.say(chunk)
            await raw.say(b"0\r\n\r\n")
            answer = await raw.answer()
            assert answer is None or answer.status == 413
