"""Tokens that are guessed, and headers that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import connection

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """Each is 401 with the same words, so that none is nearer than another."""
    bodies = set()
    for token in (
        "Bearer token-of-victi",
        "Bearer token-of-victim2",
        "Bearer TOKEN-OF-VICTIM",
        "Bearer",
        "Bearer ",
        "Bearer " + "a" * 60_000,
        "Basic dmljdGltOg==",
        "token-of-victim",
        "Bearer token-of-victim, Bearer token-of-victim",
        "Bearer \xff\xfe",
        *(f"Bearer {number:064x}" for number in range(200)),
    ):
        async with connection(daemon) as raw:
            await raw.say(
                f"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n".encode("latin-1")
            )
            answer = await raw.answer()
            assert answer is not None
            assert answer.status == 401, token[:40]
            assert b"victim" not in answer.body
            bodies.add(answer.body)
    assert len(bodies) == 2  # one for what is no token at all, one for every token that is not known
