"""A small body that says it is a large one, compressed."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from clients import MAX_BODY, client, post

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """Nothing is unpacked: the bytes are taken as they are, and are no JSON and no module."""
    bomb = gzip.compress(bytes(100 * MAX_BODY))
    assert len(bomb) < MAX_BODY
    for coding in ("gzip", "deflate", "br", "gzip, gzip"):
        assert (await post(daemon, bomb, f"Content-Encoding: {coding}")).status in (400, 415, 422)
        async with client(daemon) as attacker:
            answer = await attacker.put("/v1/modules", content=bomb, headers={"Content-Encoding": coding})
            assert answer.status_code in (415, 422)
    for coding in ("gzip", "deflate, chunked"):
        assert (await post(daemon, bomb[:100], f"X-Original: {coding}")).status == 400
