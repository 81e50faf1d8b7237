"""Requests whose end two readers would see in two places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients import request, tell

if TYPE_CHECKING:
    from daemons import Daemon


async def attack(daemon: Daemon) -> None:
    """What is ambiguous is refused whole: nothing behind it is ever taken for a request."""
    hidden = request("GET /v1/jobs", who="victim")
    for headers in (
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Content-Length: 0", f"Content-Length: {len(hidden)}"),
        ("Content-Length: 0, 5",),
        ("Content-Length: +0",),
        ("Content-Length: -1",),
        ("Content-Length: 0x10",),
        ("Content-Length: 99999999999999999999999",),
        ("Transfer-Encoding: identity, chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        (" Transfer-Encoding: chunked",),
        ("X: y\nContent-Length: 0",),
        ("X: y\rContent-Length: 0",),
        ("X: y\0",),
    ):
        body = b"0\r\n\r\n" + hidden
        answers = await tell(daemon, request("POST /v1/jobs", *headers, body=body))
        assert answers in ([400], [408], []), (headers, answers)
    for chunk in (b"-1\r\n", b"fffffffffffffffff\r\n", b"0x1\r\n", b"1;" + b"a" * 2**17, b"1\n \n0\n\n"):
        answers = await tell(daemon, request("POST /v1/jobs", "Transfer-Encoding: chunked", body=chunk))
        assert set(answers) <= {400, 408, 413, 431}, (chunk[:20], answers)
