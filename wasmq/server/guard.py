"""Who may come in: where tokens are wanted, who has one; elsewhere everybody but the web pages of other sites.

A page may send requests to loopback addresses. What gives it away is `Origin`, which browsers add to every request
that changes something, or a `Host` that is no loopback name, as after DNS rebinding. A page has no token, so where
one is wanted neither matters.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from wasmq.errors import Unauthenticated
from wasmq.server.problems import (
    MEDIA_TYPE,
    Problem,
    TooFast,
    TooManyClientRequests,
    TooManyRequests,
    problem_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    from wasmq.config import ServerConfig
    from wasmq.errors import WasmqError
    from wasmq.server.rate import Rates
    from wasmq.server.tokens import Caller, Keyring

__all__ = ["CALLER", "OPEN", "is_loopback", "make_guard"]

CALLER: Final = "wasmq.caller"
"""Where a request's scope says who asks."""
OPEN: Final = frozenset({"/livez", "/readyz", "/schema"})
"""Paths that are answered without a token: what a load balancer asks, and what is printed in the documentation."""
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
"""What every answer tells a browser, unless a route says otherwise under the same name."""
_OF_ONE: Final = "{} requests of tenant {!r} are being answered ([server] max_client_requests)"
_ELSEWHERE: Final = msgspec.json.encode(
    Problem(
        "urn:wasmq:foreign-site",
        "Forbidden",
        403,
        "the daemon takes requests under a loopback name only, and from no other web site; see Host and Origin",
    )
)


def make_guard(
    keyring: Keyring, config: ServerConfig, rates: Rates, now: Callable[[], float] = time.monotonic
) -> Callable[[ASGIApp], ASGIApp]:
    """Return what puts an application behind the guard, which lets in as many requests at once as `config` says.

    Of each caller it lets in as many in a second as `rates` say.
    Those that wait for a job count too, whether or not anybody is still there to be answered.
    """
    max_requests, max_client_requests = config.max_requests, config.max_client_requests
    inside = 0
    of_tenant: Counter[str] = Counter()

    def guard(app: ASGIApp) -> ASGIApp:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal inside
            send = _careful(send)
            keyring.refresh()
            authorization: bytes | None = None
            local = True
            for name, value in scope["headers"]:
                if name == b"authorization":
                    authorization = value
                elif name == b"host":
                    local = local and is_loopback(f"//{value.decode('latin-1')}")
                elif name == b"origin":
                    local = local and is_loopback(value.decode("latin-1"))
            if not (local or keyring.required):
                await _refuse(send, 403, _ELSEWHERE)
                return
            if inside >= max_requests and scope["path"] not in OPEN:
                error = TooManyRequests(f"{max_requests} requests are being answered ([server] max_requests)")
                await _too_many(send, error)
                return
            tenant = None
            if authorization is not None or scope["path"] not in OPEN:
                try:
                    caller: Caller = keyring.caller(authorization)
                except Unauthenticated as error:
                    wrong = b', error="invalid_token"' if authorization is not None else b""
                    challenge = (b"www-authenticate", b'Bearer realm="wasmq"' + wrong)
                    await _refuse(send, 401, msgspec.json.encode(problem_of(error)), challenge)
                    return
                after = rates.take(_name(authorization, scope), now())
                if after:
                    fast = TooFast("more requests than one caller may send ([server] requests_per_second)")
                    retry = (b"retry-after", str(math.ceil(after)).encode())
                    await _refuse(send, 429, msgspec.json.encode(problem_of(fast)), retry)
                    return
                cast("dict[str, Any]", scope)[CALLER] = caller
                tenant = caller.tenant
            if tenant is not None:
                if of_tenant[tenant] >= max_client_requests:
                    await _too_many(send, TooManyClientRequests(_OF_ONE.format(max_client_requests, tenant)))
                    return
                of_tenant[tenant] += 1
            inside += 1
            try:
                await app(scope, receive, send)
            finally:
                inside -= 1
                if tenant is not None:
                    of_tenant[tenant] -= 1

        return guarded

    return guard


def _name(authorization: bytes | None, scope: Scope) -> bytes:
    """Return what tells a caller from others: a token that was found good, or an address."""
    if authorization is not None:
        return authorization
    client = scope.get("client")
    return b"" if client is None else str(client[0]).encode()


def _careful(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message["headers"])
            known = {name.lower() for name, _ in given}
            message["headers"] = [*given, *[header for header in _HEADERS if header[0] not in known]]
        await send(message)

    return sending


async def _too_many(send: Send, error: WasmqError) -> None:
    problem = problem_of(error)
    await _refuse(send, problem.status, msgspec.json.encode(problem), (b"retry-after", b"1"))


async def _refuse(send: Send, status: int, problem: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(problem)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": problem, "more_body": False})


@lru_cache(64)
def is_loopback(url: str) -> bool:
    """Return whether the host of a URL is this machine talking to itself: localhost or a loopback address."""
    try:
        host = urlsplit(url).hostname
        return host is not None and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False
