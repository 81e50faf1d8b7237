"""`wasi:sockets`: there is no network. No socket is ever made, so that most of this is only there to be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from wasmq_worker.wasi.errno import Errno, Failed
from wasmq_worker.wasi.preview2.handles import Failure, Network, Nothing
from wasmq_worker.wasi.preview2.interface import Declaration, named

if TYPE_CHECKING:
    from wasmq_worker.wasi.preview2.state import State

TYPES: Final = named(
    error_code="enum { unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout, "
    "concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit, address-not-bindable, "
    "address-in-use, remote-unreachable, connection-refused, connection-reset, connection-aborted, "
    "datagram-too-large, name-unresolvable, temporary-resolver-failure, permanent-resolver-failure }",
    ip_address_family="enum { ipv4, ipv6 }",
    ipv4_address="tuple<u8, u8, u8, u8>",
    ipv6_address="tuple<u16, u16, u16, u16, u16, u16, u16, u16>",
    ip_address="variant { ipv4(ipv4-address), ipv6(ipv6-address) }",
    ipv4_socket_address="record { port: u16, address: ipv4-address }",
    ipv6_socket_address="record { port: u16, flow-info: u32, address: ipv6-address, scope-id: u32 }",
    ip_socket_address="variant { ipv4(ipv4-socket-address), ipv6(ipv6-socket-address) }",
    shutdown_type="enum { receive, send, both }",
    incoming_datagram="record { data: list<u8>, remote-address: ip-socket-address }",
    outgoing_datagram="record { data: list<u8>, remote-address: option<ip-socket-address> }",
    done="result<_, error-code>",
    address="result<ip-socket-address, error-code>",
    yes="result<bool, error-code>",
    count8="result<u8, error-code>",
    count32="result<u32, error-code>",
    count64="result<u64, error-code>",
)

_CODES: Final = {Errno.ACCES: "access-denied", Errno.NOTSUP: "not-supported"}

# What there would be to call on a socket: name, parameters after `self`, result.
_SOCKET: Final = (
    ("start-bind", ("borrow<network>", "ip-socket-address"), "done"),
    ("finish-bind", (), "done"),
    ("local-address", (), "address"),
    ("remote-address", (), "address"),
    ("address-family", (), "ip-address-family"),
    ("receive-buffer-size", (), "count64"),
    ("set-receive-buffer-size", ("u64",), "done"),
    ("send-buffer-size", (), "count64"),
    ("set-send-buffer-size", ("u64",), "done"),
    ("subscribe", (), "own<pollable>"),
)
_TCP: Final = (
    *_SOCKET,
    ("start-connect", ("borrow<network>", "ip-socket-address"), "done"),
    ("finish-connect", (), "result<tuple<own<input-stream>, own<output-stream>>, error-code>"),
    ("start-listen", (), "done"),
    ("finish-listen", (), "done"),
    ("accept", (), "result<tuple<own<tcp-socket>, own<input-stream>, own<output-stream>>, error-code>"),
    ("is-listening", (), "bool"),
    ("set-listen-backlog-size", ("u64",), "done"),
    ("keep-alive-enabled", (), "yes"),
    ("set-keep-alive-enabled", ("bool",), "done"),
    ("keep-alive-idle-time", (), "count64"),
    ("set-keep-alive-idle-time", ("u64",), "done"),
    ("keep-alive-interval", (), "count64"),
    ("set-keep-alive-interval", ("u64",), "done"),
    ("keep-alive-count", (), "count32"),
    ("set-keep-alive-count", ("u32",), "done"),
    ("hop-limit", (), "count8"),
    ("set-hop-limit", ("u8",), "done"),
    ("shutdown", ("shutdown-type",), "done"),
)
_UDP: Final = (
    *_SOCKET,
    (
        "stream",
        ("option<ip-socket-address>",),
        "result<tuple<own<incoming-datagram-stream>, own<outgoing-datagram-stream>>, error-code>",
    ),
    ("unicast-hop-limit", (), "count8"),
    ("set-unicast-hop-limit", ("u8",), "done"),
)
_INCOMING: Final = (
    ("receive", ("u64",), "result<list<incoming-datagram>, error-code>"),
    ("subscribe", (), "own<pollable>"),
)
_OUTGOING: Final = (
    ("check-send", (), "count64"),
    ("send", ("list<outgoing-datagram>",), "count64"),
    ("subscribe", (), "own<pollable>"),
)
_LOOKUP: Final = (
    ("resolve-next-address", (), "result<option<ip-address>, error-code>"),
    ("subscribe", (), "own<pollable>"),
)


def _declare(interface: str) -> Declaration:
    return Declaration(f"wasi:sockets/{interface}", TYPES, lambda _, failed: _CODES[failed.errno])


def _absent(state: State, number: int, *args: object) -> None:
    """Raise `Violated`: nobody has such a resource."""
    state.get(number, Nothing)


_network = _declare("network")
_network.resource("network", Network)
_lookup = _declare("ip-name-lookup")

for _interface, _resource, _functions in (
    ("tcp", "tcp-socket", _TCP),
    ("udp", "udp-socket", _UDP),
    ("udp", "incoming-datagram-stream", _INCOMING),
    ("udp", "outgoing-datagram-stream", _OUTGOING),
    ("ip-name-lookup", "resolve-address-stream", _LOOKUP),
):
    _declared = _declare(_interface)
    _declared.resource(_resource, Nothing)
    for _name, _params, _result in _functions:
        _enter = _declared.function(f"[method]{_resource}.{_name}", f"borrow<{_resource}>", *_params, result=_result)
        _enter(_absent)


@_network.function("network-error-code", "borrow<error>", result="option<error-code>")
def network_error_code(state: State, error: int) -> None:
    """Return None: no stream goes through a network."""
    state.get(error, Failure)


@_declare("instance-network").function("instance-network", result="own<network>")
def instance_network(state: State) -> int:
    """Return a network that leads nowhere."""
    return state.hold(Network())


@_lookup.function(
    "resolve-addresses", "borrow<network>", "string", result="result<own<resolve-address-stream>, error-code>"
)
def resolve_addresses(state: State, network: int, name: str) -> NoReturn:
    """Refuse: `access-denied`."""
    state.get(network, Network)
    raise Failed(Errno.ACCES)


@_declare("tcp-create-socket").function(
    "create-tcp-socket", "ip-address-family", result="result<own<tcp-socket>, error-code>"
)
@_declare("udp-create-socket").function(
    "create-udp-socket", "ip-address-family", result="result<own<udp-socket>, error-code>"
)
def create_socket(state: State, family: str) -> NoReturn:
    """Refuse: `not-supported`."""
    raise Failed(Errno.NOTSUP)
