"""Tokens that are nearly right, for whoever can tell by the time how near they are."""

from __future__ import annotations

import hashlib
import hmac
import itertools
from typing import TYPE_CHECKING
from unittest.mock import patch

from clients import request, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daemons import Daemon

_VICTIMS = b"token-of-victim"


async def attack(daemon: Daemon) -> None:
    """What is compared is the whole of two hashes, in a time that does not depend on them; a hash is no token."""
    wanted = hashlib.sha256(_VICTIMS).digest()
    near = list(itertools.islice(_near(wanted), 3))
    compared: list[tuple[bytes, bytes]] = []

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return constant_time(one, other)

    constant_time = hmac.compare_digest
    guesses = [*near, _VICTIMS[:-1], _VICTIMS + b"x", wanted.hex().encode(), b"sha256:" + wanted.hex().encode()]
    with patch.object(hmac, "compare_digest", spy):
        for guess in guesses:
            heads = (b"Host: localhost", b"Authorization: Bearer " + guess)
            assert await tell(daemon, b"\r\n".join((b"GET /v1/jobs HTTP/1.1", *heads, b"", b""))) == [401], guess
        assert await tell(daemon, request("GET /v1/jobs", who="victim")) == [200]
    others = [pair for pair in compared if wanted in pair and pair != (wanted, wanted)]
    # What shares the beginning of its hash with the victim's was compared with it, so there was something to time.
    assert others == [(wanted, hashlib.sha256(each).digest()) for each in near]
    assert (wanted, wanted) in compared


def _near(wanted: bytes) -> Iterator[bytes]:
    """Return tokens whose hashes begin as another does: as near as anybody comes who cannot invert them."""
    for number in itertools.count():
        guess = b"guess-%d" % number
        if hashlib.sha256(guess).digest()[:2] == wanted[:2]:
            yield guess
