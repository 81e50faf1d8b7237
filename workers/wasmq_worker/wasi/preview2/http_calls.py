"""`wasi:http`: requests can be made, and each is denied.

It is here because components made of JavaScript import it whether or not they ever fetch anything. Nothing is ever
received, so that most resources are only there to be imported.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from wasmq_worker.wasi.descriptors import Allowance, Output
from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.preview2.handles import Failure, Nothing, OutputStream
from wasmq_worker.wasi.preview2.http_types import TYPES, Body, Fields, Message, Options, Request, Response, types
from wasmq_worker.wasi.preview2.interface import Declaration
from wasmq_worker.wasi.preview2.outcome import Case

if TYPE_CHECKING:
    from typing import NoReturn

    from wasmq_worker.wasi.preview2.state import State

_FIELDS: Final = "borrow<fields>"
_REQUEST: Final = "borrow<outgoing-request>"
_RESPONSE: Final = "borrow<outgoing-response>"

_handler = Declaration("wasi:http/outgoing-handler", TYPES, lambda _, failed: Case("HTTP-request-denied"))
for _name, _kind in (
    ("fields", Fields),
    ("outgoing-request", Request),
    ("outgoing-response", Response),
    ("outgoing-body", Body),
    ("request-options", Options),
):
    types.resource(_name, _kind)

_method = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_path = re.compile(r"[!-~]*")
_authority = re.compile(r"[!-~]+")

# What there would be to call on what is never received: resource, function, parameters after `self`, result.
_ABSENT: Final = (
    ("incoming-request", "method", (), "method"),
    ("incoming-request", "path-with-query", (), "option<string>"),
    ("incoming-request", "scheme", (), "option<scheme>"),
    ("incoming-request", "authority", (), "option<string>"),
    ("incoming-request", "headers", (), "own<fields>"),
    ("incoming-request", "consume", (), "result<own<incoming-body>>"),
    ("incoming-response", "status", (), "u16"),
    ("incoming-response", "headers", (), "own<fields>"),
    ("incoming-response", "consume", (), "result<own<incoming-body>>"),
    ("incoming-body", "stream", (), "result<own<input-stream>>"),
    ("future-trailers", "subscribe", (), "own<pollable>"),
    ("future-trailers", "get", (), "option<result<result<option<own<fields>>, error-code>>>"),
    ("future-incoming-response", "subscribe", (), "own<pollable>"),
    ("future-incoming-response", "get", (), "option<result<result<own<incoming-response>, error-code>>>"),
)


def _absent(state: State, number: int, *args: object) -> None:
    """Raise `Violated`: nobody has such a resource."""
    state.get(number, Nothing)


for _name in ("incoming-request", "incoming-response", "incoming-body", "future-trailers"):
    types.resource(_name, Nothing)
types.resource("future-incoming-response", Nothing)
types.resource("response-outparam", Nothing)
for _resource, _name, _params, _result in _ABSENT:
    types.function(f"[method]{_resource}.{_name}", f"borrow<{_resource}>", *_params, result=_result)(_absent)
types.function("[static]incoming-body.finish", "own<incoming-body>", result="own<future-trailers>")(_absent)
types.function("[static]response-outparam.set", "own<response-outparam>", "result<own<outgoing-response>, error-code>")(
    _absent
)


@types.function("http-error-code", "borrow<error>", result="option<error-code>")
def http_error_code(state: State, error: int) -> None:
    """Return None: no stream is of a message."""
    state.get(error, Failure)


@types.function("[constructor]fields", result="own<fields>")
def new_fields(state: State) -> int:
    """Return fields without any."""
    return state.hold(Fields())


@types.function("[static]fields.from-list", "entries", result="result<own<fields>, header-error>")
def fields_from_list(state: State, entries: list[tuple[str, bytes]]) -> int:
    """Return fields with these names and values."""
    return state.hold(Fields(entries))


@types.function("[method]fields.get", _FIELDS, "field-name", result="list<field-value>")
def get(state: State, fields: int, name: str) -> list[bytes]:
    """Return the values of a name, none if it is not there."""
    return state.get(fields, Fields).get(name)


@types.function("[method]fields.has", _FIELDS, "field-name", result="bool")
def has(state: State, fields: int, name: str) -> bool:
    """Return whether a name is there."""
    return bool(state.get(fields, Fields).get(name))


@types.function("[method]fields.set", _FIELDS, "field-name", "list<field-value>", result="changed")
def set_(state: State, fields: int, name: str, values: list[bytes]) -> None:
    """Give a name other values."""
    with state.growing(fields, Fields) as found:
        found.set(name, values)


@types.function("[method]fields.delete", _FIELDS, "field-name", result="changed")
def delete(state: State, fields: int, name: str) -> None:
    """Remove a name."""
    with state.growing(fields, Fields) as found:
        found.delete(name)


@types.function("[method]fields.append", _FIELDS, "field-name", "field-value", result="changed")
def append(state: State, fields: int, name: str, value: bytes) -> None:
    """Give a name one more value."""
    with state.growing(fields, Fields) as found:
        found.append(name, value)


@types.function("[method]fields.entries", _FIELDS, result="entries")
def entries(state: State, fields: int) -> list[tuple[str, bytes]]:
    """Return all names and values."""
    return state.get(fields, Fields).entries()


@types.function("[method]fields.clone", _FIELDS, result="own<fields>")
def clone(state: State, fields: int) -> int:
    """Return fields of their own with the same names and values."""
    return _copy(state, state.get(fields, Fields), mutable=True)


@types.function("[constructor]outgoing-request", "own<fields>", result="own<outgoing-request>")
def new_request(state: State, headers: int) -> int:
    """Return a request with these headers, which cannot be changed any more."""
    return state.hold(Request(state.take(headers, Fields)))


@types.function("[constructor]outgoing-response", "own<fields>", result="own<outgoing-response>")
def new_response(state: State, headers: int) -> int:
    """Return a response with these headers, which cannot be changed any more."""
    return state.hold(Response(state.take(headers, Fields)))


@types.function("[method]outgoing-request.headers", _REQUEST, result="own<fields>")
@types.function("[method]outgoing-response.headers", _RESPONSE, result="own<fields>")
def headers(state: State, message: int) -> int:
    """Return the headers, which cannot be changed."""
    return _copy(state, state.get(message, Message).headers, mutable=False)


@types.function("[method]outgoing-request.body", _REQUEST, result="result<own<outgoing-body>>")
@types.function("[method]outgoing-response.body", _RESPONSE, result="result<own<outgoing-body>>")
def body(state: State, message: int) -> int:
    """Return the body, once."""
    found = state.get(message, Message)
    if found.body_given:
        raise Failed(Errno.ALREADY)
    found.body_given = True
    return state.hold(Body())


@types.function("[method]outgoing-body.write", "borrow<outgoing-body>", result="result<own<output-stream>>")
def body_write(state: State, number: int) -> int:
    """Return a stream, once. What is written to it is gone."""
    found = state.get(number, Body)
    if found.stream_given:
        raise Failed(Errno.ALREADY)
    found.stream_given = True
    return state.hold(OutputStream(Output(Allowance(0))))


@types.function(
    "[static]outgoing-body.finish", "own<outgoing-body>", "option<own<fields>>", result="result<_, error-code>"
)
def body_finish(state: State, number: int, trailers: int | None) -> None:
    """Take the body back, and the trailers."""
    state.take(number, Body)
    if trailers is not None:
        state.take(trailers, Fields)


@types.function("[method]outgoing-request.method", _REQUEST, result="method")
def method(state: State, request: int) -> Case:
    """Return the method."""
    return state.get(request, Request).method


@types.function("[method]outgoing-request.set-method", _REQUEST, "method", result="result")
def set_method(state: State, request: int, value: Case) -> None:
    """Set the method."""
    _check(_method, value.value)
    with state.growing(request, Request) as found:
        found.kept += _length(value) - _length(found.method)
        found.method = value


@types.function("[method]outgoing-request.path-with-query", _REQUEST, result="option<string>")
def path(state: State, request: int) -> str | None:
    """Return the path."""
    return state.get(request, Request).path


@types.function("[method]outgoing-request.set-path-with-query", _REQUEST, "option<string>", result="result")
def set_path(state: State, request: int, value: str | None) -> None:
    """Set the path."""
    _check(_path, value)
    with state.growing(request, Request) as found:
        found.kept += len(value or "") - len(found.path or "")
        found.path = value


@types.function("[method]outgoing-request.scheme", _REQUEST, result="option<scheme>")
def scheme(state: State, request: int) -> Case | None:
    """Return the scheme."""
    return state.get(request, Request).scheme


@types.function("[method]outgoing-request.set-scheme", _REQUEST, "option<scheme>", result="result")
def set_scheme(state: State, request: int, value: Case | None) -> None:
    """Set the scheme."""
    _check(_scheme, None if value is None else value.value)
    with state.growing(request, Request) as found:
        found.kept += _length(value) - _length(found.scheme)
        found.scheme = value


@types.function("[method]outgoing-request.authority", _REQUEST, result="option<string>")
def authority(state: State, request: int) -> str | None:
    """Return the authority."""
    return state.get(request, Request).authority


@types.function("[method]outgoing-request.set-authority", _REQUEST, "option<string>", result="result")
def set_authority(state: State, request: int, value: str | None) -> None:
    """Set the authority."""
    _check(_authority, value)
    with state.growing(request, Request) as found:
        found.kept += len(value or "") - len(found.authority or "")
        found.authority = value


@types.function("[method]outgoing-response.status-code", _RESPONSE, result="u16")
def status_code(state: State, response: int) -> int:
    """Return the status."""
    return state.get(response, Response).status


@types.function("[method]outgoing-response.set-status-code", _RESPONSE, "u16", result="result")
def set_status_code(state: State, response: int, status: int) -> None:
    """Set the status, which has three digits."""
    found = state.get(response, Response)
    if not 100 <= status <= 999:
        raise Failed(Errno.INVAL)
    found.status = status


@types.function("[constructor]request-options", result="own<request-options>")
def new_options(state: State) -> int:
    """Return options without any timeout."""
    return state.hold(Options())


def _declare_timeout(name: str) -> None:
    """Enter what reads and what sets one of the timeouts."""

    def timeout(state: State, options: int) -> int | None:
        return state.get(options, Options).timeouts.get(name)

    def set_timeout(state: State, options: int, duration: int | None) -> None:
        state.get(options, Options).timeouts[name] = duration

    method = "[method]request-options."
    types.function(f"{method}{name}", "borrow<request-options>", result="option<u64>")(timeout)
    types.function(f"{method}set-{name}", "borrow<request-options>", "option<u64>", result="result")(set_timeout)


for _name in ("connect-timeout", "first-byte-timeout", "between-bytes-timeout"):
    _declare_timeout(_name)


@_handler.function(
    "handle",
    "own<outgoing-request>",
    "option<own<request-options>>",
    result="result<own<future-incoming-response>, error-code>",
)
def handle(state: State, request: int, options: int | None) -> NoReturn:
    """Refuse: `HTTP-request-denied`."""
    state.take(request, Request)
    if options is not None:
        state.take(options, Options)
    raise Failed(Errno.ACCES)


def _copy(state: State, fields: Fields, *, mutable: bool) -> int:
    """Return a copy, paid for as if the guest had made it."""
    copied = Fields(fields.entries(), mutable=mutable)
    state.world.copied += copied.kept
    return state.hold(copied)


def _check(pattern: re.Pattern[str], text: str | None) -> None:
    if text is not None and not pattern.fullmatch(text):
        raise Failed(Errno.INVAL)


def _length(case: Case | None) -> int:
    return 0 if case is None or case.value is None else len(case.value)
