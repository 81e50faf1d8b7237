"""`wasmq serve`: the daemon."""

from __future__ import annotations

import gc
import importlib.util
import signal
from typing import TYPE_CHECKING, Annotated

import anyio
import anyio.to_thread
from cyclopts import Parameter

from wasmq import logs
from wasmq.bell import Bell
from wasmq.cli.exits import Unavailable
from wasmq.cli.options import ConfigFile, effective_config
from wasmq.config import configured
from wasmq.errors import WasmqError
from wasmq.store.urls import FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskStatus

    from wasmq.config import Config
    from wasmq.scheduler import Scheduler
    from wasmq.server.tls import Certificate

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
    flags = {
        "scheduler.store": store,
        "scheduler.workers": workers,
        "server.host": host,
        "server.port": port,
        "logs.format": "json" if json else None,
    }

    def read() -> Config:
        settings = effective_config(config, flags)
        return configured(settings, {"scheduler.store": FILE}) if settings.scheduler.store is None else settings

    settings = read()
    for package in ("httptools", "litestar", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise Unavailable(f"serving over HTTP needs {package}: pip install 'wasmq[serve]'")
    logs.configure(settings.logs.level, settings.logs.format)
    options = {"use_uvloop": importlib.util.find_spec("uvloop") is not None}
    anyio.run(_serve, settings, read, backend_options=options)
    return 0


def _keep_for_good() -> None:
    """Let the garbage collector leave alone what is there now: modules and classes, which live as long as the daemon.

    It would walk them all in each full collection, and every job waits for that: 25 to 40 ms.
    """
    gc.collect()
    gc.freeze()


async def _serve(config: Config, read: Callable[[], Config]) -> None:
    """Run until a signal ends it; `read` reads the configuration anew."""
    from wasmq import server
    from wasmq.scheduler import Scheduler
    from wasmq.server.listen import url_of
    from wasmq.server.notify import Notifier
    from wasmq.server.tls import Certificate

    certificate = Certificate(config.server)
    stopping = anyio.Event()
    hang_up = Bell()
    notifier = Notifier()

    async def watch(*, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    hang_up.ring()
                    continue
                if stopping.is_set():
                    _log.warning("daemon.forced", signal=number.name)
                    # Die of the signal itself, as who sent it expects; the workers end when their channel does.
                    signal.signal(number, signal.SIG_DFL)
                    signal.raise_signal(number)
                _log.info("daemon.stopping", signal=number.name, grace=scheduler.config.scheduler.grace)
                notifier.stopping()
                stopping.set()

    async def reload() -> None:
        while True:
            await hang_up.wait()
            notifier.reloading()
            await _reload(scheduler, read)
            await _renew(certificate)
            notifier.ready()

    def ready(host: str, port: int) -> None:
        _keep_for_good()
        _log.info("daemon.ready", url=url_of(config.server, host, port))
        notifier.ready()
        tasks.start_soon(reload)
        tasks.start_soon(notifier.watch, lambda: scheduler.live)

    scheduler = Scheduler(config=config)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch)
        async with scheduler:
            await server.serve(scheduler, ready=ready, stopping=stopping, certificate=certificate)
        tasks.cancel_scope.cancel()
    _log.info("daemon.stopped")


async def _reload(scheduler: Scheduler, read: Callable[[], Config]) -> None:
    """Take over what can change of the configuration as it is now; a configuration that is wrong changes nothing."""
    try:
        news = await scheduler.reload(await anyio.to_thread.run_sync(read))
    except WasmqError as error:
        _log.error("config.refused", error=str(error))
        return
    logs.configure(news.config.logs.level, news.config.logs.format)
    if news.restart:
        _log.warning("config.needs_restart", keys=list(news.restart))
    _log.info("config.reloaded", changed=list(news.changed))


async def _renew(certificate: Certificate) -> None:
    """Read the certificate again, where there is one; files that are no good change nothing."""
    try:
        if await anyio.to_thread.run_sync(certificate.reload):
            _log.info("certificate.reloaded")
    except WasmqError as error:
        _log.error("certificate.refused", error=str(error))
