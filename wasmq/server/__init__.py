"""The scheduler over HTTP: `build_app` makes the ASGI application, `serve` listens. Needs the extra `wasmq[serve]`."""

from wasmq.server.app import build_app
from wasmq.server.serve import serve

__all__ = ["build_app", "serve"]
