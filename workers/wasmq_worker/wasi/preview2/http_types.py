"""The types and resources of `wasi:http/types` that a guest can make without ever being answered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.preview2.handles import Handle
from wasmq_worker.wasi.preview2.interface import Declaration, named
from wasmq_worker.wasi.preview2.outcome import Case

if TYPE_CHECKING:
    from collections.abc import Iterable

TYPES: Final = named(
    method="variant { get, head, post, put, delete, connect, options, trace, patch, other(string) }",
    scheme="variant { HTTP, HTTPS, other(string) }",
    DNS_error_payload="record { rcode: option<string>, info-code: option<u16> }",
    TLS_alert_received_payload="record { alert-id: option<u8>, alert-message: option<string> }",
    field_size_payload="record { field-name: option<string>, field-size: option<u32> }",
    error_code="variant { DNS-timeout, DNS-error(DNS-error-payload), destination-not-found, destination-unavailable, "
    "destination-IP-prohibited, destination-IP-unroutable, connection-refused, connection-terminated, "
    "connection-timeout, connection-read-timeout, connection-write-timeout, connection-limit-reached, "
    "TLS-protocol-error, TLS-certificate-error, TLS-alert-received(TLS-alert-received-payload), HTTP-request-denied, "
    "HTTP-request-length-required, HTTP-request-body-size(option<u64>), HTTP-request-method-invalid, "
    "HTTP-request-URI-invalid, HTTP-request-URI-too-long, HTTP-request-header-section-size(option<u32>), "
    "HTTP-request-header-size(option<field-size-payload>), HTTP-request-trailer-section-size(option<u32>), "
    "HTTP-request-trailer-size(field-size-payload), HTTP-response-incomplete, "
    "HTTP-response-header-section-size(option<u32>), HTTP-response-header-size(field-size-payload), "
    "HTTP-response-body-size(option<u64>), HTTP-response-trailer-section-size(option<u32>), "
    "HTTP-response-trailer-size(field-size-payload), HTTP-response-transfer-coding(option<string>), "
    "HTTP-response-content-coding(option<string>), HTTP-response-timeout, HTTP-upgrade-failed, HTTP-protocol-error, "
    "loop-detected, configuration-error, internal-error(option<string>) }",
    header_error="variant { invalid-syntax, forbidden, immutable }",
    field_name="string",
    field_value="list<u8>",
    entries="list<tuple<field-name, field-value>>",
    changed="result<_, header-error>",
)

_REFUSALS: Final = {
    Errno.INVAL: Case("invalid-syntax"),
    Errno.PERM: Case("forbidden"),
    Errno.ROFS: Case("immutable"),
}
types = Declaration("wasi:http/types", TYPES, lambda _, failed: _REFUSALS[failed.errno])

# What an entry takes of this process's memory besides its bytes, roughly.
_ENTRY: Final = 128
_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_bad_value = re.compile(rb"[\0\r\n]")
# About the connection and not the message: not for a guest to set.
_FORBIDDEN: Final = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "transfer-encoding")
) | {"upgrade", "host", "http2-settings", "te"}


class Fields(Handle):
    """`fields`: names, in whatever case, each with one or more values."""

    __slots__ = ("_values", "kept", "mutable")

    def __init__(self, entries: Iterable[tuple[str, bytes]] = (), *, mutable: bool = True) -> None:
        self.kept = 0
        self.mutable = True
        self._values: dict[str, list[tuple[str, bytes]]] = {}
        for name, value in entries:
            self.append(name, value)
        self.mutable = mutable

    def get(self, name: str) -> list[bytes]:
        """Return the values of a name."""
        return [value for _, value in self._values.get(name.lower(), ())]

    def entries(self) -> list[tuple[str, bytes]]:
        """Return all names with their values."""
        return [entry for values in self._values.values() for entry in values]

    def append(self, name: str, value: bytes) -> None:
        """Give a name one more value. Raises `Failed`: INVAL, PERM, ROFS."""
        self._check(name, (value,))
        self._values.setdefault(name.lower(), []).append((name, value))
        self.kept += _ENTRY + len(name) + len(value)

    def set(self, name: str, values: list[bytes]) -> None:
        """Give a name these values instead of those that it has. Raises `Failed`: INVAL, PERM, ROFS."""
        self._check(name, values)
        self.delete(name)
        for value in values:
            self.append(name, value)

    def delete(self, name: str) -> None:
        """Remove a name. Raises `Failed`: INVAL, PERM, ROFS."""
        self._check(name, ())
        for entry, value in self._values.pop(name.lower(), ()):
            self.kept -= _ENTRY + len(entry) + len(value)

    def _check(self, name: str, values: Iterable[bytes]) -> None:
        if not self.mutable:
            raise Failed(Errno.ROFS)
        if not _token.fullmatch(name) or any(map(_bad_value.search, values)):
            raise Failed(Errno.INVAL)
        if name.lower() in _FORBIDDEN:
            raise Failed(Errno.PERM)


class Message(Handle):
    """What requests and responses have in common: headers, and a body that is given out once."""

    __slots__ = ("body_given", "headers", "kept")

    def __init__(self, headers: Fields) -> None:
        self.headers = headers
        self.kept = headers.kept
        self.body_given = False


class Request(Message):
    """`outgoing-request`."""

    __slots__ = ("authority", "method", "path", "scheme")

    def __init__(self, headers: Fields) -> None:
        super().__init__(headers)
        self.method = Case("get")
        self.path: str | None = None
        self.scheme: Case | None = None
        self.authority: str | None = None


class Response(Message):
    """`outgoing-response`."""

    __slots__ = ("status",)

    def __init__(self, headers: Fields) -> None:
        super().__init__(headers)
        self.status = 200


class Body(Handle):
    """`outgoing-body`: where nothing of what is written goes anywhere."""

    __slots__ = ("stream_given",)

    def __init__(self) -> None:
        self.stream_given = False


class Options(Handle):
    """`request-options`: timeouts in nanoseconds, by name."""

    __slots__ = ("timeouts",)

    def __init__(self) -> None:
        self.timeouts: dict[str, int | None] = {}
