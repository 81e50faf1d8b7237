"""Where the daemon listens: a bound socket for each address of a host, or one that is a file."""

from __future__ import annotations

import errno
import ipaddress
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from wasmq.errors import ConfigError, ResourceUnavailable

if TYPE_CHECKING:
    from wasmq.config import ServerConfig

__all__ = ["BACKLOG", "forget_file", "listen", "listen_on_file", "url_of"]

BACKLOG: Final = 1024
_MODE: Final = 0o660  # of a socket that is a file: its owner and their group


def url_of(config: ServerConfig, host: str, port: int) -> str:
    """Return the URL under which a client reaches what listens."""
    if config.socket is not None:
        return f"unix://{Path(config.socket).absolute()}"
    scheme = "http" if config.tls_cert is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def listen_on_file(path: str) -> socket.socket:
    """Return a socket that is a file; one that a dead daemon has left is replaced.

    Raises `ResourceUnavailable` when somebody listens there, or `ConfigError` when it cannot be.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        bound.setblocking(False)
        bound.bind(path)
        # Nobody can connect before somebody listens.
        Path(path).chmod(_MODE)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise ConfigError(f"server.socket: cannot listen on {path}: {error.strerror or error}") from None
    except BaseException:
        bound.close()
        raise
    return bound


def forget_file(path: str) -> None:
    """Take a socket's file away."""
    Path(path).unlink(missing_ok=True)


def _clear(path: str) -> None:
    try:
        found = Path(path).lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"server.socket: {path} is there already, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # its backlog is full, so there is somebody
    raise ResourceUnavailable(f"server.socket: another process listens on {path}")


async def listen(host: str, port: int, *, anywhere: bool) -> list[socket.socket]:
    """Return a bound socket for each of the host's addresses, all on one port."""
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ConfigError(f"server.host: {host!r} is not an address or a name that can be looked up") from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for _, address in addresses:
        if not anywhere and not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
            raise ConfigError(
                f"server.host: {host} can be reached from other machines, and anybody there could run jobs; "
                "use 127.0.0.1 or ::1, or give each tenant a token (see wasmq token)"
            )
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    try:
        for family, address in addresses:
            try:
                sockets.append(_bound(family, address[0], port))
            except OSError as error:
                # A name such as localhost may have an address of a family that this machine has switched off.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                refused = error
            else:
                port = sockets[0].getsockname()[1]
        if not sockets and refused is not None:
            raise refused
    except OSError as error:
        for each in sockets:
            each.close()
        kind = ResourceUnavailable if error.errno == errno.EADDRINUSE else ConfigError
        raise kind(_why_not(host, port, error)) from None
    return sockets


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # The protocol is named because asyncio sends answers without delay only on sockets that say they are TCP.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        # Another listener on the port shows here at the latest.
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _why_not(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"server.port: {host} port {port} is taken by another process; choose another port, or 0 for any"
        case errno.EACCES:
            return f"server.port: {host} port {port} needs privileges; choose one above 1023"
        case _:
            return f"server.host: cannot listen on {host} port {port}: {error.strerror}"
