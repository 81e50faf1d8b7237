"""Errors as RFC 9457 problem details: the one place where a situation gets its HTTP status."""

from __future__ import annotations

import http
import math
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException

from wasmq import errors
from wasmq.logs import get_logger
from wasmq.server.requests import InvalidBody, MalformedBody
from wasmq.types import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar import Request
    from litestar.types import ExceptionHandlersMap

__all__ = [
    "HANDLERS",
    "MEDIA_TYPE",
    "STATUSES",
    "InvalidQuery",
    "Problem",
    "TooFast",
    "TooManyClientRequests",
    "TooManyRequests",
    "TooManyStreams",
    "problem_of",
]

MEDIA_TYPE: Final = "application/problem+json"
_MAX_DETAIL: Final = 1_000
"""Characters of a detail: what a client sent may be in it, and comes back in one line and no longer than this."""
_log = get_logger()


class InvalidQuery(errors.WasmqError):
    """Raised when a query parameter is unknown, given twice, or has a value that does not fit."""


class TooManyStreams(errors.Refused):
    """Raised when as many streams of events are open as there may be."""


class TooManyRequests(errors.Refused):
    """Raised when as many requests are being answered as there may be."""


class TooFast(errors.Refused):
    """Raised when one caller sends more requests than it may."""


class TooManyClientRequests(errors.Refused):
    """Raised when as many of a tenant's requests are being answered as it may have."""


class Problem(msgspec.Struct, frozen=True):
    """What went wrong; `type` names the situation for programs, `detail` says it to people."""

    type: str
    title: str
    status: int
    detail: str


STATUSES: Final[dict[type[Exception], int]] = {
    MalformedBody: 400,
    InvalidQuery: 400,
    InvalidBody: 422,
    errors.CursorGone: 410,
    TooManyStreams: 429,
    TooFast: 429,
    TooManyRequests: 503,
    TooManyClientRequests: 429,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotLost: 409,
    errors.NotRefuellable: 409,
    errors.NotDeterministic: 409,
    errors.NotRecorded: 409,
    errors.Refused: 422,
    errors.InvalidModule: 422,
    errors.UnknownModule: 404,
    errors.UnknownJob: 404,
    errors.UnknownExport: 422,
    errors.InvalidArguments: 422,
    errors.InvalidLimit: 422,
    errors.LimitTooHigh: 422,
    errors.UnsatisfiedImport: 422,
    errors.QueueFull: 429,
    errors.BudgetExhausted: 429,
    errors.DeadlineUnmeetable: 422,
    errors.NoAccount: 422,
    errors.KeyConflict: 409,
    errors.SchedulerClosed: 503,
    errors.StoreUnavailable: 503,
}

# What may be possible in a moment.
_SOON: Final = (errors.QueueFull, errors.SchedulerClosed, errors.StoreUnavailable, TooManyStreams)
_LATEST: Final = 366 * 86_400  # seconds: as far ahead as a Retry-After says


def problem_of(error: Exception) -> Problem:
    """Return what is said about one of our own errors."""
    kind = next(kind for kind in type(error).__mro__ if kind in STATUSES)
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", kind.__name__).lower()
    return Problem(
        f"urn:wasmq:{words.replace(' ', '-')}", words.capitalize(), STATUSES[kind], printable(str(error), _MAX_DETAIL)
    )


def _from_wasmq(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    after = 1 if isinstance(error, _SOON) else None
    if isinstance(error, errors.BudgetExhausted) and error.after is not None:
        after = min(max(1, math.ceil(error.after)), _LATEST)
    return _response(problem_of(error), None if after is None else {"Retry-After": str(after)})


def _from_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    match error.status_code:
        case 404:
            detail = f"there is nothing at {request.scope['path']}; /schema lists what is there"
        case 405:
            detail = f"{request.method} is not for {request.scope['path']}"
        case 413:
            detail = "the body is larger than [server] max_body allows"
        case _:
            detail = error.detail
    problem = Problem(
        "about:blank", http.HTTPStatus(error.status_code).phrase, error.status_code, printable(detail, _MAX_DETAIL)
    )
    return _response(problem, error.headers)


def _from_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.error("http.failed", method=request.method, path=request.scope["path"], exc_info=error)
    return _response(Problem("about:blank", "Internal Server Error", 500, "the daemon failed; its log says why"))


def _response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    return Response(
        msgspec.json.encode(problem), status_code=problem.status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


HANDLERS: Final[ExceptionHandlersMap] = {
    **dict.fromkeys(STATUSES, _from_wasmq),
    HTTPException: _from_http,
    Exception: _from_unexpected,
}
