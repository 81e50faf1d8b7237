"""The scheduler over HTTP: `build_app` makes the ASGI application, `serve` listens. Needs the extra `wasmq[serve]`."""

from __future__ import annotations

try:
    from wasmq.server.app import build_app
    from wasmq.server.serve import serve
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("litestar", "uvicorn"):
        raise
    raise ModuleNotFoundError(
        f"serving over HTTP needs {error.name}: pip install 'wasmq[serve]'", name=error.name
    ) from None

__all__ = ["build_app", "serve"]
