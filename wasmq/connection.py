"""Requests to a daemon, sent again when the connection breaks or the daemon says that it will be able to later."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import anyio

from wasmq.errors import BudgetExhausted, ConfigError, SchedulerClosed, Unreachable
from wasmq.remote import error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import httpx

__all__ = ["Connection"]

_FIRST_PAUSE: Final = 0.05  # seconds, doubled each time
_LONGEST_PAUSE: Final = 2.0
_DIGITS: Final = 9  # of a Retry-After that are read
_LATER: Final = (429, 503)


class Connection:
    """HTTP to one daemon. `retry_for` is how many seconds a request is tried again for, each time it begins to fail."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        timeout: float,
        retry_for: float,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is not the URL of a daemon: write http://HOST:PORT")
        self._url = url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._retry_for = retry_for
        self._transport = transport
        self._http: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Get ready; nothing is sent yet. Raises `ConfigError` without httpx, or for a URL that cannot be."""
        try:
            import httpx
        except ImportError:
            raise ConfigError("talking to a daemon needs httpx: pip install 'wasmq[client]'") from None
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        try:
            self._http = httpx.AsyncClient(
                base_url=self._url,
                headers=headers,
                timeout=httpx.Timeout(self._timeout, pool=None),
                limits=httpx.Limits(max_connections=1_000, max_keepalive_connections=100),
                transport=self._transport,
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise ConfigError(f"{self._url!r} is not the URL of a daemon: {error}") from None

    async def close(self) -> None:
        """Close all connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        media: str = "application/json",
        accept: str | None = None,
        wait: float = 0.0,
        within: float | None = None,
        patient: bool = True,
        repeatable: bool = True,
    ) -> bytes:
        """Return the body of the answer to a request that may be sent more than once, unless it is not `repeatable`.

        `wait` is how many seconds the daemon is asked to take on purpose, `within` how many seconds an answer that is
        known to be slow may take; unless `patient`, what it refuses for now is refused.
        Raises what the daemon's problem stands for, or `Unreachable`.
        """
        import httpx

        http = self._client()
        trying = _Trying(self._retry_for)
        query = {name: value for name, value in (params or {}).items() if value is not None}
        if wait:
            query["wait"] = f"{wait:g}"
        headers = {} if content is None else {"Content-Type": media}
        if accept is not None:
            headers["Accept"] = accept
        timeout = httpx.Timeout(self._timeout, read=within or wait + self._timeout, pool=None)
        while True:
            try:
                response = await http.request(
                    method, path, params=query, content=content, headers=headers, timeout=timeout
                )
            except httpx.TransportError as error:
                if not repeatable and not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
                    raise self._unreachable(error) from None
                await trying.again(self._unreachable(error), None)
                continue
            if response.is_success:
                return response.content
            problem = error_of(response.status_code, response.content)
            after = response.headers.get("retry-after", "")
            if isinstance(problem, BudgetExhausted) and after.isdecimal():
                problem.after = float(after[:_DIGITS])
            if response.status_code not in _LATER or not after.isdecimal() or not patient:
                raise problem
            await trying.again(problem, float(after[:_DIGITS]))

    async def stream(self, path: str, last_id: str) -> AsyncIterator[tuple[str, str, bytes]]:
        """Yield id, name and data of each server-sent event, until the connection ends, which raises nothing.

        Raises what the daemon's problem stands for; a daemon that cannot be had is tried again.
        """
        import httpx

        http = self._client()
        trying, connected = _Trying(self._retry_for), False
        headers = {"Last-Event-ID": last_id} if last_id else {}
        timeout = httpx.Timeout(self._timeout, read=60.0, pool=None)
        while True:
            try:
                async with http.stream("GET", path, headers=headers, timeout=timeout) as response:
                    if not response.is_success:
                        problem = error_of(response.status_code, await response.aread())
                        after = response.headers.get("retry-after", "")
                        if response.status_code not in _LATER or not after.isdecimal():
                            raise problem
                        await trying.again(problem, float(after[:_DIGITS]))
                        continue
                    connected = True
                    async for event in _events(response):
                        yield event
                    return
            except httpx.TransportError as error:
                if connected:
                    return
                await trying.again(self._unreachable(error), None)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            raise SchedulerClosed("the client is not open; use it inside 'async with Client(...)'")
        return self._http

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self._url}: no daemon answers: {str(error) or type(error).__name__}")


class _Trying:
    """The pauses between the tries of one request: longer each time, and never the same for two who failed at once."""

    def __init__(self, seconds: float) -> None:
        self._until = anyio.current_time() + seconds
        self._pause = _FIRST_PAUSE

    async def again(self, problem: Exception, after: float | None) -> None:
        """Return when it is time for the next try. Raises the problem when the time for tries is over."""
        pause = random.uniform(0.5, 1.0) * self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        if after is not None:
            pause += min(after, _LONGEST_PAUSE)
        if anyio.current_time() + max(pause, after or 0.0) > self._until:
            raise problem
        await anyio.sleep(pause)


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, str, bytes]]:
    last_id, name, data = "", "", ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        match field:
            case "id":
                last_id = value
            case "event":
                name = value
            case "data":
                data += value
            case "":
                if data:
                    yield last_id, name, data.encode()
                name, data = "", ""
