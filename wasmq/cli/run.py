"""`wasmq run`: one job, here and now."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
import msgspec
from cyclopts import Parameter

from wasmq import logs
from wasmq.cli.exits import UsageError, exit_for_outcome
from wasmq.cli.inspect import load_module, unreadable
from wasmq.cli.options import ConfigFile, Json, ModuleFile, effective_config
from wasmq.cli.output import complain, print_json, print_line, spin
from wasmq.cli.values import format_results, json_results, parse_words
from wasmq.errors import UnknownExport
from wasmq.job import Limits, Outcome
from wasmq.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wasmq.config import Config
    from wasmq.handles import JobHandle
    from wasmq.modules import Module

__all__ = ["run"]

_LISTED = 12  # exports named in one line


def run(
    file: ModuleFile,
    export: Annotated[str | None, Parameter(help="The exported function to call.")] = None,
    /,
    *args: Annotated[
        str,
        Parameter(
            allow_leading_hyphen=True,
            help="Its arguments: integers (decimal or 0x hex), floats (nan and inf too), v128 as 32 hex digits; "
            "those of a component as JSON, a string also as it is.",
        ),
    ],
    fuel: Annotated[int | None, Parameter(help="Fuel it may spend.")] = None,
    memory: Annotated[str | None, Parameter(help="Memory it may have: bytes, or like 16MiB.")] = None,
    timeout: Annotated[float | None, Parameter(help="Seconds it may run.")] = None,
    output: Annotated[str | None, Parameter(help="Output that is kept: bytes, or like 64KiB.")] = None,
    engine: Annotated[
        Literal["native", "interpreter"] | None, Parameter(help="Machine code, or bytecode without any.")
    ] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Run one job and print its value; returns the exit status that belongs to its outcome."""
    logs.configure("error")
    # A job of one's own: neither the daemon's queue nor its worker processes have a part in it.
    flags = {
        "scheduler.workers": 1,
        "scheduler.store": "memory://",
        "scheduler.grace": 0,
        "scheduler.engine": engine,
    }
    settings = effective_config(config, flags)
    with unreadable(file):
        file.stat()  # before a worker process is started for nothing
    if export is None:
        raise UsageError(_choices(file, anyio.run(load_module, settings, file)))
    for word in args:
        if word.startswith("--"):
            raise UsageError(f"unknown option {word} (see wasmq run --help)")
    limits = Limits(fuel=fuel, memory=memory, timeout=timeout, output=output)
    outcome = anyio.run(_run, settings, file, export, args, limits)
    if json:
        print_json(_report(outcome))
    elif outcome.status == "succeeded" and (text := format_results(outcome)):
        print_line(text)
    if outcome.status != "succeeded":
        complain(f"{outcome.error or outcome.status.replace('_', ' ')} ({file}, {export})")
    return exit_for_outcome(outcome)


async def _run(config: Config, file: Path, export: str, args: Sequence[str], limits: Limits) -> Outcome:
    job: JobHandle | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spin, f"running {export} of {file}; Ctrl-C cancels it")
        async with Scheduler(config=config) as scheduler:
            with anyio.CancelScope() as scope:
                tasks.start_soon(_cancel_on_interrupt, scope)
                with unreadable(file):
                    module = await scheduler.load(file)
                try:
                    function = module.function(export)
                except UnknownExport as error:
                    raise UnknownExport(f"{file}: {error}") from None
                values = parse_words(args, function, export)
                job = await scheduler.submit(module, export, *values, limits=limits)
                outcome = await job
            if scope.cancelled_caught:
                if job is None:
                    outcome = Outcome(status="cancelled", error="cancelled before it was queued")
                else:
                    await job.cancel()
                    outcome = await job
        tasks.cancel_scope.cancel()
    return outcome


async def _cancel_on_interrupt(scope: anyio.CancelScope) -> None:
    """Cancel the job on the first Ctrl-C; the second one finds Python's own handler again and ends the process."""
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


def _choices(file: Path, module: Module) -> str:
    listed = [f"{name} {function}" for name, function in module.functions.items()]
    if not listed:
        return f"{file} exports no function that could be run"
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return f"name a function to run; {file} exports {', '.join(listed[:_LISTED])}{more}"


def _report(outcome: Outcome) -> dict[str, Any]:
    values = json_results(outcome)
    value = values[0] if len(values) == 1 else values or None
    report = {"status": outcome.status, "value": value} | msgspec.structs.asdict(outcome) | {"values": values}
    del report["returned"]
    return report
