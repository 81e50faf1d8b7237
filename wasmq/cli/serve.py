"""`wasmq serve`: the daemon."""

from __future__ import annotations

import importlib.util
import signal
from typing import TYPE_CHECKING, Annotated

import anyio
from cyclopts import Parameter

from wasmq import logs
from wasmq.cli.exits import Unavailable
from wasmq.cli.options import ConfigFile, effective_config
from wasmq.config import configured
from wasmq.store.urls import FILE

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from wasmq.config import Config

__all__ = ["serve"]

_log = logs.get_logger()


def serve(
    *,
    config: ConfigFile = None,
    store: Annotated[
        str | None, Parameter(help="Where jobs live, as a URL; sqlite:///wasmq.db unless configured.")
    ] = None,
    host: Annotated[str | None, Parameter(help="The address to listen on.")] = None,
    port: Annotated[int | None, Parameter(help="The port to listen on; 0 is any that is free.")] = None,
    workers: Annotated[int | None, Parameter(help="Worker processes.")] = None,
    json: Annotated[
        bool, Parameter(name="--json", negative=(), show_default=False, help="Log one JSON object a line.")
    ] = False,
) -> int:
    """Run the daemon until a signal ends it; the first drains it, the second ends the process."""
    settings = effective_config(
        config,
        {
            "scheduler.store": store,
            "scheduler.workers": workers,
            "server.host": host,
            "server.port": port,
            "logs.format": "json" if json else None,
        },
    )
    for package in ("httptools", "litestar", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise Unavailable(f"serving over HTTP needs {package}: pip install 'wasmq[serve]'")
    if settings.scheduler.store is None:
        settings = configured(settings, {"scheduler.store": FILE})
    logs.configure(settings.logs.level, settings.logs.format)
    options = {"use_uvloop": importlib.util.find_spec("uvloop") is not None}
    anyio.run(_serve, settings, backend_options=options)
    return 0


async def _serve(config: Config) -> None:
    from wasmq import server
    from wasmq.scheduler import Scheduler

    stopping = anyio.Event()

    async def watch(*, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                if stopping.is_set():
                    _log.warning("daemon.forced", signal=number.name)
                    # Die of the signal itself, as who sent it expects; the workers end when their channel does.
                    signal.signal(number, signal.SIG_DFL)
                    signal.raise_signal(number)
                _log.info("daemon.stopping", signal=number.name, grace=config.scheduler.grace)
                stopping.set()

    async with anyio.create_task_group() as tasks:
        await tasks.start(watch)
        async with Scheduler(config=config) as scheduler:
            await server.serve(scheduler, ready=_announce, stopping=stopping)
        tasks.cancel_scope.cancel()
    _log.info("daemon.stopped")


def _announce(host: str, port: int) -> None:
    _log.info("daemon.ready", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
