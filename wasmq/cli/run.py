"""`wasmq run`: one job, here and now."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import anyio
import anyio.to_thread
import msgspec
from cyclopts import Parameter

from wasmq import logs
from wasmq.cli.directories import Mounted, mount, parse_directory, write_back
from wasmq.cli.exits import UsageError, exit_for_outcome
from wasmq.cli.inspect import unreadable
from wasmq.cli.options import (
    Argv,
    ConfigFile,
    Deterministic,
    Env,
    Export,
    FilesSize,
    Fuel,
    Grants,
    Json,
    LinkedFiles,
    Memory,
    ModuleFile,
    Output,
    Stdin,
    Timeout,
    effective_config,
    linked_files,
    refuse_options,
)
from wasmq.cli.output import complain, print_json, print_line, spin
from wasmq.cli.values import format_results, json_results, parse_words
from wasmq.errors import UnknownExport
from wasmq.job import Limits, Outcome
from wasmq.scheduler import Scheduler
from wasmq.submission import ProgramOptions, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wasmq.config import Config
    from wasmq.handles import JobHandle
    from wasmq.modules import Module
    from wasmq.remote import RemoteModule

__all__ = ["Wanted", "print_outcome", "report", "request_of", "run"]

_READ = "fd_read"
_LISTED = 12  # exports named in one line


def run(
    file: ModuleFile,
    export: Export = None,
    /,
    *args: Annotated[
        str,
        Parameter(
            allow_leading_hyphen=True,
            help="Its arguments: integers (decimal or 0x hex), floats (nan and inf too), v128 as 32 hex digits; "
            "those of a component as JSON, a string also as it is.",
        ),
    ],
    fuel: Fuel = None,
    memory: Memory = None,
    timeout: Timeout = None,
    deadline: Annotated[float | None, Parameter(help="Seconds by which it is to have ended.")] = None,
    output: Output = None,
    files: FilesSize = None,
    argv: Argv = (),
    stdin: Stdin = None,
    env: Env = (),
    directories: Annotated[
        tuple[str, ...],
        Parameter(
            name="--dir",
            negative=(),
            show_default=False,
            help="A directory whose files a program gets, HOST::GUEST; what it changes is written back, not with :ro.",
        ),
    ] = (),
    deterministic: Deterministic = False,
    engine: Annotated[
        Literal["native", "interpreter"] | None, Parameter(help="Machine code, or bytecode without any.")
    ] = None,
    link: LinkedFiles = (),
    grant: Grants = (),
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Run one job and print its value, or what it wrote; returns the exit status that belongs to its outcome."""
    logs.configure("error")
    # A job of one's own: neither the daemon's queue nor its worker processes have a part in it.
    flags = {
        "scheduler.workers": 1,
        "scheduler.store": "memory://",
        "scheduler.grace": 0,
        "scheduler.engine": engine,
    }
    settings = effective_config(config, flags)
    linked = linked_files(link)
    for each in (file, *linked.values()):
        with unreadable(each):
            each.stat()  # before a worker process is started for nothing
    refuse_options(args, "run")
    limits = Limits(fuel=fuel, memory=memory, timeout=timeout, output=output, files=files)
    mounted = [parse_directory(text) for text in directories]
    wanted = Wanted(file, export, args, argv, stdin, env, mounted, deterministic, limits, linked, grant)
    outcome = anyio.run(_run, settings, wanted, deadline)
    if json:
        print_json(report(outcome))
    else:
        print_outcome(outcome)
    if outcome.status != "succeeded" and not outcome.exit_code:
        complain(f"{outcome.error or outcome.status.replace('_', ' ')} ({wanted.named})")
    return exit_for_outcome(outcome)


class Wanted(NamedTuple):
    """What the command line asks for."""

    file: Path
    export: str | None
    args: tuple[str, ...]
    argv: tuple[str, ...]
    stdin: str | None
    env: tuple[str, ...]
    directories: list[Mounted]
    deterministic: bool
    limits: Limits
    linked: dict[str, Path]
    grant: tuple[str, ...]

    @property
    def named(self) -> str:
        """What is run, as a line about it says it."""
        return str(self.file) if self.export is None else f"{self.file}, {self.export}"


async def _run(config: Config, wanted: Wanted, deadline: float | None) -> Outcome:
    file = wanted.file
    job: JobHandle | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spin, f"running {wanted.named}; Ctrl-C cancels it")
        async with Scheduler(config=config) as scheduler:
            with anyio.CancelScope() as scope:
                tasks.start_soon(_cancel_on_interrupt, scope)
                with unreadable(file):
                    module = await scheduler.load(file)
                link = {}
                for name, each in wanted.linked.items():
                    with unreadable(each):
                        link[name] = await scheduler.load(each)
                request, before = await request_of(config, module, wanted)
                request = msgspec.structs.replace(request, link=link, deadline=deadline)
                (job,) = await scheduler.submit_many([request])
                outcome = await job
                write_back(wanted.directories, before, outcome.files)
            if scope.cancelled_caught:
                if job is None:
                    outcome = Outcome(status="cancelled", error="cancelled before it was queued")
                else:
                    await job.cancel()
                    outcome = await job
        tasks.cancel_scope.cancel()
    return outcome


async def request_of(config: Config, module: Module | RemoteModule, wanted: Wanted) -> tuple[Request, dict[str, bytes]]:
    """Return the job that the command line asks for, and the files that come with it."""
    file, export, args = wanted.file, wanted.export, wanted.args
    program: ProgramOptions = {"deterministic": wanted.deterministic}
    values: Sequence[Any] = ()
    if export is None:
        if module.command is None:
            raise UsageError(_choices(file, module))
        program |= {"argv": wanted.argv, "name": file.name}
    else:
        try:
            function = module.function(export)
        except UnknownExport as error:
            hint = f"; for an argument of the program itself write -- {export}" if module.command is not None else ""
            raise UnknownExport(f"{file}: {error}{hint}") from None
        # After -- come the arguments of whatever is run: that lets a negative number be one.
        values = parse_words((*args, *wanted.argv), function, export)
    before = mount(wanted.directories, config.limits.max.input)
    program |= {
        "env": dict(_variable(text) for text in wanted.env),
        "files": before,
        "dirs": {mounted.guest: mounted.access for mounted in wanted.directories if mounted.guest != "."},
        "collect": [f"{mounted.guest}/" if mounted.guest != "." else "/" for mounted in wanted.directories],
        "stdin": await anyio.to_thread.run_sync(
            _read_input, wanted.stdin, module, config.limits.max.input, abandon_on_cancel=True
        ),
    }
    request = Request(
        module=module.digest, export=export, args=values, program=program, limits=wanted.limits, grant=wanted.grant
    )
    return request, before


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--env {text}: write NAME=VALUE")
    return name, value


def _read_input(source: str | None, module: Module | RemoteModule, most: int) -> bytes:
    """Return the program's standard input; without `--stdin` this command's own, if the program could read it."""
    if source is None and (not _reads(module) or sys.stdin is None or sys.stdin.isatty()):
        return b""
    if source is None or source == "-":
        return sys.stdin.buffer.read(most + 1)
    path = Path(source)
    with unreadable(path), path.open("rb") as stream:
        return stream.read(most + 1)


def _reads(module: Module | RemoteModule) -> bool:
    """Return whether a program could read its standard input."""
    return _READ in module.wasi or any(each.name == "get-stdin" for each in module.imports)


def print_outcome(outcome: Outcome, *, printed: bool = False) -> None:
    """Write what the guest wrote, unless it has been `printed` before, and the values that it returned."""
    if not printed:
        sys.stdout.buffer.write(outcome.stdout)
        sys.stdout.flush()
        sys.stderr.buffer.write(outcome.stderr)
        sys.stderr.flush()
    if outcome.stdout_truncated or outcome.stderr_truncated:
        complain("more was written than is kept; raise --output to see it")
    if outcome.status == "succeeded" and (text := format_results(outcome)):
        print_line(text)


async def _cancel_on_interrupt(scope: anyio.CancelScope) -> None:
    """Cancel the job on the first Ctrl-C; the second one finds Python's own handler again and ends the process."""
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


def _choices(file: Path, module: Module | RemoteModule) -> str:
    listed = [f"{name} {function}" for name, function in module.functions.items()]
    if not listed:
        return f"{file} exports no function that could be run"
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return f"name a function to run; {file} exports {', '.join(listed[:_LISTED])}{more}"


def report(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON has it."""
    values = json_results(outcome)
    value = values[0] if len(values) == 1 else values or None
    report = {"status": outcome.status, "value": value} | msgspec.structs.asdict(outcome)
    report |= {"values": values, "receipt": outcome.receipt}
    for name in ("returned", "basis", "prices", "recording", "unrecorded"):
        del report[name]
    return report
