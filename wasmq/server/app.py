"""The ASGI application: every route, over one scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import Litestar

from wasmq.server import health, jobs, modules, openapi, problems, stream, tenants
from wasmq.server.context import Context
from wasmq.server.guard import make_guard
from wasmq.server.tokens import Keyring

if TYPE_CHECKING:
    from wasmq.scheduler import Scheduler

__all__ = ["build_app"]


def build_app(scheduler: Scheduler) -> Litestar:
    """Return the application that offers `scheduler`, which must be running while requests come in."""
    app = Litestar(
        [
            *modules.routes,
            *jobs.routes,
            *stream.routes,
            *tenants.routes,
            *health.routes,
            openapi.route(scheduler.config.server),
        ],
        exception_handlers=problems.HANDLERS,
        middleware=[make_guard(Keyring(scheduler.config))],
        request_max_body_size=int(scheduler.config.server.max_body),
        # The document is made by the library that also decodes the bodies: so it says what is really accepted.
        openapi_config=None,
        logging_config=None,
    )
    Context(scheduler).attach(app)
    return app
