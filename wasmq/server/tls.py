"""The certificate that the daemon shows, read again when it has been renewed."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from wasmq.errors import ConfigError

if TYPE_CHECKING:
    from wasmq.config import ServerConfig

__all__ = ["Certificate"]


class Certificate:
    """What new connections speak TLS with, by the files that `[server]` names; `context` is None without them.

    Making one raises `ConfigError` when the files cannot be used.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self.context = _context_of(config)

    def reload(self) -> bool:
        """Read the files again, for connections from now on; return whether there are any.

        It blocks: call it in a thread. Raises `ConfigError` when they cannot be used; what was read before still holds.
        """
        self.context = _context_of(self._config)
        return self.context is not None


def _context_of(config: ServerConfig) -> ssl.SSLContext | None:
    cert, key = config.tls_cert, config.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigError("server.tls_cert and server.tls_key go together: name both files, or none")
    if config.socket is not None:
        raise ConfigError("server.tls_cert: a socket that is a file needs no TLS; leave out server.socket or the files")
    for name, path in (("tls_cert", cert), ("tls_key", key)):
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise ConfigError(f"server.{name}: {path}: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key would be asked for at the terminal.
        context.load_cert_chain(cert, key, password=str)
    except (ssl.SSLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", None) or str(error) or "not PEM"
        raise ConfigError(
            f"server.tls_cert: {cert} and {key} are not a certificate and its key, unencrypted, as PEM: {reason}"
        ) from None
    return context
