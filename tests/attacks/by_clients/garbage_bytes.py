"""Bytes that are no HTTP: noise, TLS, other protocols, HTTP/2."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from clients import tell

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """The connection ends with 400 or without a word."""
    dice = random.Random(7)
    greetings = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"SSH-2.0-OpenSSH\r\n",
        b"EHLO localhost\r\n",
        b"*1\r\n\\$4\r\nPING\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / \r\n\r\n",
        b"GET\0/ HTTP/1.1\r\n\r\n",
        b"\r\n" * 10_000,
        bytes(10_000),
    ]
    for data in (*greetings, *(dice.randbytes(dice.randrange(1, 2_000)) for _ in range(100))):
        answers = await tell(daemon, data)
        assert answers in ([400], [401], [404], [408], [431], []), (data[:40], answers)
