"""The ASGI application: every route, over one scheduler."""

# Annotations are read by litestar when a route is made, so they stay real objects here.

from collections.abc import Sequence
from typing import TYPE_CHECKING

from litestar import Litestar, Response, route
from litestar.handlers import HTTPRouteHandler

from wasmq.server import estimates, health, jobs, modules, openapi, problems, replays, stream, tenants
from wasmq.server.context import Context
from wasmq.server.guard import make_guard
from wasmq.server.rate import Rates
from wasmq.server.tokens import Keyring

if TYPE_CHECKING:
    from wasmq.scheduler import Scheduler

__all__ = ["build_app"]


def _options(handlers: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Return routes that say what each path is for; the framework's own know of one handler only."""
    methods: dict[str, set[str]] = {}
    for handler in handlers:
        for path in handler.paths:
            methods.setdefault(path, {"OPTIONS"}).update(handler.http_methods)
    return [_answer_options(path, ", ".join(sorted(each))) for path, each in methods.items()]


def _answer_options(path: str, allowed: str) -> HTTPRouteHandler:
    async def options() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allowed})

    return route(path, http_method="OPTIONS", status_code=204)(options)


def build_app(scheduler: "Scheduler") -> Litestar:
    """Return the application that offers `scheduler`, which must be running while requests come in."""
    handlers = [
        *modules.routes,
        *estimates.routes,
        *jobs.routes,
        *replays.routes,
        *stream.routes,
        *tenants.routes,
        *health.routes,
        openapi.route(scheduler.config.server),
    ]
    keyring = Keyring(scheduler.config, lambda: scheduler.config)
    config = scheduler.config.server
    rates = Rates(config.requests_per_second, config.requests_burst)
    app = Litestar(
        [*_options(handlers), *handlers],
        exception_handlers=problems.HANDLERS,
        middleware=[make_guard(keyring, config, rates)],
        request_max_body_size=int(config.max_body),
        # The document is made by the library that also decodes the bodies: so it says what is really accepted.
        openapi_config=None,
        logging_config=None,
    )
    Context(scheduler, keyring).attach(app)
    return app
