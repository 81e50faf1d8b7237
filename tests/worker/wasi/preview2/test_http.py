"""HTTP: requests can be made, and each is denied."""

from __future__ import annotations

from typing import Any

import pytest

from wasmq_worker.wasi import Violated
from wasmq_worker.wasi.preview2 import INTERFACES, Case, Err
from wasmq_worker.wasi.preview2.state import KEPT_MAX

from .component import Component, refused

INVALID, FORBIDDEN, IMMUTABLE = Case("invalid-syntax"), Case("forbidden"), Case("immutable")


def http(component: Component, name: str, *args: Any) -> Any:
    return component.call("http/types", name, *args)


def fields(component: Component, *entries: tuple[str, bytes]) -> int:
    number: int = http(component, "[static]fields.from-list", list(entries))
    return number


def entries(component: Component, number: int) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = http(component, "[method]fields.entries", number)
    return found


def request(component: Component, *headers: tuple[str, bytes]) -> int:
    number: int = http(component, "[constructor]outgoing-request", fields(component, *headers))
    return number


def test_fields_are_names_with_values(component: Component) -> None:
    """A name may have several, and is the same in every case; each is given back as it came."""
    number = http(component, "[constructor]fields")
    http(component, "[method]fields.append", number, "Accept", b"a")
    http(component, "[method]fields.append", number, "accept", b"\xff")
    http(component, "[method]fields.set", number, "Other", [b"1", b""])
    assert http(component, "[method]fields.get", number, "ACCEPT") == [b"a", b"\xff"]
    assert entries(component, number) == [("Accept", b"a"), ("accept", b"\xff"), ("Other", b"1"), ("Other", b"")]
    copied = http(component, "[method]fields.clone", number)
    http(component, "[method]fields.set", number, "accept", [b"b"])
    http(component, "[method]fields.delete", number, "other")
    assert entries(component, number) == [("accept", b"b")]
    assert len(entries(component, copied)) == 4
    assert not http(component, "[method]fields.has", number, "other")
    assert http(component, "[method]fields.has", copied, "other")
    assert http(component, "[method]fields.get", number, "no name at all") == []


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("", b"", INVALID),
        ("a b", b"", INVALID),
        ("ä", b"", INVALID),
        ("a", b"x\r\ny", INVALID),
        ("a", b"\0", INVALID),
        ("Host", b"", FORBIDDEN),
        ("transfer-encoding", b"", FORBIDDEN),
    ],
)
def test_what_no_message_can_have(component: Component, name: str, value: bytes, error: Case) -> None:
    """Bad names and values, and headers that are the connection's, are refused and change nothing."""
    number = fields(component, ("a", b"1"))
    assert refused(lambda: http(component, "[method]fields.append", number, name, value)) == error
    assert refused(lambda: http(component, "[method]fields.set", number, name, [b"", value])) == error
    assert refused(lambda: fields(component, ("b", b""), (name, value))) == error
    assert entries(component, number) == [("a", b"1")]


def test_a_request_is_what_was_set(component: Component) -> None:
    """Method, path, scheme and authority; what cannot be one is refused without a reason."""
    number = request(component, ("a", b"1"))
    for name, start, value, bad in (
        ("method", Case("get"), Case("other", "PURGE"), Case("other", "a b")),
        ("path-with-query", None, "/x?y=1", "/ä b"),
        ("scheme", None, Case("other", "ftp"), Case("other", "1")),
        ("authority", None, "example.org:80", ""),
    ):
        method = "[method]outgoing-request."
        assert http(component, f"{method}{name}", number) == start
        http(component, f"{method}set-{name}", number, value)
        assert component.raw("http/types", f"{method}set-{name}", number, bad) == Err()
        assert http(component, f"{method}{name}", number) == value
        if start is None:
            http(component, f"{method}set-{name}", number, None)
            assert http(component, f"{method}{name}", number) is None


def test_a_response_is_what_was_set(component: Component) -> None:
    """A status has three digits."""
    number = http(component, "[constructor]outgoing-response", fields(component))
    assert http(component, "[method]outgoing-response.status-code", number) == 200
    http(component, "[method]outgoing-response.set-status-code", number, 404)
    for status in (99, 1000):
        assert (
            refused(lambda status=status: http(component, "[method]outgoing-response.set-status-code", number, status))
            is None
        )
    assert http(component, "[method]outgoing-response.status-code", number) == 404


@pytest.mark.parametrize("kind", ["request", "response"])
def test_the_headers_of_a_message_stay(component: Component, kind: str) -> None:
    """The message takes them; what it gives back cannot be changed, but copied."""
    given = fields(component, ("a", b"1"))
    message = http(component, f"[constructor]outgoing-{kind}", given)
    with pytest.raises(Violated, match="Fields"):
        entries(component, given)
    headers = http(component, f"[method]outgoing-{kind}.headers", message)
    assert entries(component, headers) == [("a", b"1")]
    assert refused(lambda: http(component, "[method]fields.append", headers, "b", b"")) == IMMUTABLE
    assert refused(lambda: http(component, "[method]fields.delete", headers, "a")) == IMMUTABLE
    http(component, "[method]fields.delete", http(component, "[method]fields.clone", headers), "a")
    component.drop("http/types", f"outgoing-{kind}", message)
    assert entries(component, headers) == [("a", b"1")]


@pytest.mark.parametrize("kind", ["request", "response"])
def test_a_body_is_written_and_gone(component: Component, kind: str) -> None:
    """There is one body, with one stream that takes everything; nothing of it is kept anywhere."""
    message = http(component, f"[constructor]outgoing-{kind}", fields(component))
    body = http(component, f"[method]outgoing-{kind}.body", message)
    assert refused(lambda: http(component, f"[method]outgoing-{kind}.body", message)) is None
    stream = http(component, "[method]outgoing-body.write", body)
    assert refused(lambda: http(component, "[method]outgoing-body.write", body)) is None
    before = component.world.moved
    component.output("write", stream, b"x" * 1000)
    assert component.world.moved - before == 1000
    component.drop("io/streams", "output-stream", stream)
    trailers = fields(component, ("a", b"1"))
    http(component, "[static]outgoing-body.finish", body, trailers)
    for number, resource in ((body, "outgoing-body"), (trailers, "fields")):
        with pytest.raises(Violated):
            component.drop("http/types", resource, number)
    assert (component.world.stdout, component.world.stderr) == (b"", b"")


def test_every_request_is_denied(component: Component) -> None:
    """It and its options are taken all the same."""
    options = http(component, "[constructor]request-options")
    for name in ("connect-timeout", "first-byte-timeout", "between-bytes-timeout"):
        assert http(component, f"[method]request-options.{name}", options) is None
        http(component, f"[method]request-options.set-{name}", options, 5)
        assert http(component, f"[method]request-options.{name}", options) == 5
    held = len(component.state)
    number = request(component)
    denied = Case("HTTP-request-denied")
    assert refused(lambda: component.call("http/outgoing-handler", "handle", number, options)) == denied
    assert len(component.state) == held - 1
    assert refused(lambda: component.call("http/outgoing-handler", "handle", request(component), None)) == denied
    with pytest.raises(Violated, match="Request"):
        component.call("http/outgoing-handler", "handle", number, None)


def test_what_resources_keep_is_finite(component: Component) -> None:
    """All names, values and paths together have a most; what is dropped makes room."""
    number = fields(component)
    large = b"x" * (KEPT_MAX // 4)
    for _ in range(3):
        http(component, "[method]fields.append", number, "a", large)
    with pytest.raises(Violated, match="keep"):
        http(component, "[method]fields.clone", number)
    http(component, "[method]fields.set", number, "a", [large])
    copied = http(component, "[method]fields.clone", number)
    message = http(component, "[constructor]outgoing-request", number)
    for number in (copied, http(component, "[method]outgoing-request.headers", message)):
        component.drop("http/types", "fields", number)
    http(component, "[method]outgoing-request.set-path-with-query", message, "/" * (KEPT_MAX // 2))
    http(component, "[method]outgoing-request.set-path-with-query", message, None)
    with pytest.raises(Violated, match="keep"):
        http(component, "[method]outgoing-request.set-path-with-query", message, "/" * KEPT_MAX)
    other = Component()
    for _ in range(20):
        other.drop("http/types", "fields", fields(other, ("a", large)))


def test_methods_of_what_is_never_received_are_for_nobody(component: Component) -> None:
    """No number stands for a response or what comes with it, so each of its functions is a violation."""
    called = 0
    for name, function in INTERFACES["wasi:http/types"].functions.items():
        resource = name.partition("]")[2].partition(".")[0]
        if resource.startswith(("incoming-", "future-")) or resource == "response-outparam":
            called += 1
            with pytest.raises(Violated, match="Nothing"):
                function.call(component.state, component.root, *[None] * (len(function.params) - 1))
    assert called == 16


def test_no_stream_fails_for_http() -> None:
    """An error of a file is none of a message's."""
    component = Component(quota=0)
    stream = component.file("append-via-stream", component.open("file", "c"))
    case = refused(lambda: component.output("write", stream, b"x"))
    assert http(component, "http-error-code", case.value) is None
