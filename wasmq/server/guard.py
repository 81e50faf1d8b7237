"""Keeps web pages out: a daemon without authentication must not obey a browser that some other site steers.

A page may send requests to loopback addresses. What gives it away is `Origin`, which browsers add to every request
that changes something, or a `Host` that is no loopback name, as after DNS rebinding.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from wasmq.server.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

_PROBLEM: Final = msgspec.json.encode(
    Problem(
        "about:blank",
        "Forbidden",
        403,
        "the daemon takes requests under a loopback name only, and from no other web site; see Host and Origin",
    )
)


def guard(app: ASGIApp) -> ASGIApp:
    """Return `app` behind the guard."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_local(scope):
            headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(_PROBLEM)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": _PROBLEM, "more_body": False})
            return
        await app(scope, receive, send)

    return guarded


def _is_local(scope: Scope) -> bool:
    return all(
        is_loopback(value.decode("latin-1") if name == b"origin" else f"//{value.decode('latin-1')}")
        for name, value in scope["headers"]
        if name in (b"host", b"origin")
    )


def is_loopback(url: str) -> bool:
    """Return whether the host of a URL is this machine talking to itself: localhost or a loopback address."""
    try:
        host = urlsplit(url).hostname
        return host is not None and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False
