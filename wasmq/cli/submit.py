"""`wasmq submit`: a job for a daemon."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec
from cyclopts import Parameter

from wasmq.cli.directories import parse_directory, write_back
from wasmq.cli.exits import Exit, UsageError
from wasmq.cli.inspect import unreadable
from wasmq.cli.jobs import show_end
from wasmq.cli.output import complain, print_json, print_line, spin
from wasmq.cli.remote import DEFAULT_URL, Json, Token, Url, connect, job_report
from wasmq.cli.run import Wanted, request_of
from wasmq.config import Config
from wasmq.job import Limits, OnExhausted, Reuse

if TYPE_CHECKING:
    from wasmq.remote import RemoteJob

__all__ = ["submit"]

_File = Annotated[Path, Parameter(help="A module: wasm bytes, WebAssembly text, or the digest of a loaded one.")]
_DIGEST = re.compile("[0-9a-f]{64}")
_PATIENCE = 30.0  # seconds that a daemon may be away


def submit(
    file: _File,
    export: Annotated[str | None, Parameter(help="The exported function to call.")] = None,
    /,
    *args: Annotated[str, Parameter(allow_leading_hyphen=True, help="Its arguments, as for run.")],
    fuel: Annotated[int | None, Parameter(help="Fuel it may spend.")] = None,
    memory: Annotated[str | None, Parameter(help="Memory it may have: bytes, or like 16MiB.")] = None,
    timeout: Annotated[float | None, Parameter(help="Seconds it may run.")] = None,
    output: Annotated[str | None, Parameter(help="Output that is kept: bytes, or like 64KiB.")] = None,
    files: Annotated[str | None, Parameter(help="Bytes that a program's files may have together.")] = None,
    suspend: Annotated[
        float | None, Parameter(help="Seconds that it waits to be refuelled, with --on-exhausted suspend.")
    ] = None,
    on_exhausted: Annotated[
        OnExhausted, Parameter(help="When its fuel is spent: stop ends it, suspend waits for wasmq refuel.")
    ] = "stop",
    argv: Annotated[
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="An argument of a program, as what follows --."),
    ] = (),
    stdin: Annotated[str | None, Parameter(help="A program's standard input: a file, or - for this command's.")] = None,
    env: Annotated[
        tuple[str, ...],
        Parameter(negative=(), show_default=False, help="A variable of a program's environment: NAME=VALUE."),
    ] = (),
    directories: Annotated[
        tuple[str, ...],
        Parameter(
            name="--dir",
            negative=(),
            show_default=False,
            help="A directory whose files a program gets, HOST::GUEST; with --wait, what it changes is written back.",
        ),
    ] = (),
    deterministic: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Give a program the same clock and chance each time.")
    ] = False,
    tenant: Annotated[str, Parameter(help="Whose job it is; left out, the token's own.")] = "default",
    priority: Annotated[int, Parameter(help="The highest goes first.")] = 0,
    key: Annotated[str | None, Parameter(help="The same key and call again is the same job.")] = None,
    delay: Annotated[float, Parameter(help="Seconds before it may start.")] = 0.0,
    reuse: Annotated[
        Reuse | None, Parameter(help="Whether an identical job's run may answer it: under way, or ended as well.")
    ] = None,
    deadline: Annotated[float | None, Parameter(help="Seconds from now by which it is to have ended.")] = None,
    wait: Annotated[bool, Parameter(negative=(), show_default=False, help="Wait for it, as run does.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> int:
    """Queue a job and print its id, or wait for it and print its value."""
    digest = str(file) if _DIGEST.fullmatch(str(file)) and not file.exists() else None
    if digest is None:
        with unreadable(file):
            file.stat()
    for word in args:
        if word.startswith("--"):
            raise UsageError(f"unknown option {word} (see wasmq submit --help)")
    limits = Limits(fuel=fuel, memory=memory, timeout=timeout, output=output, files=files, suspend=suspend)
    mounted = [parse_directory(text) for text in directories]
    wanted = Wanted(file, export, args, argv, stdin, env, mounted, deterministic, limits, {})

    async def ask() -> RemoteJob:
        async with (
            connect(url, token, retry_for=_PATIENCE if wait else 0.0) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(spin, f"submitting {wanted.named}")
            with unreadable(file):
                module = await (client.load(file) if digest is None else client.module(digest))
            request, before = await request_of(Config(), module, wanted)
            request = msgspec.structs.replace(
                request,
                tenant=tenant,
                priority=priority,
                key=key,
                delay=delay,
                deadline=deadline,
                on_exhausted=on_exhausted,
                reuse=reuse,
            )
            (handle,) = await client.submit_many([request], wait=wait)
            if handle.at_risk:
                complain(f"job {handle.id} is not expected to be done by its deadline")
            if wait:
                write_back(mounted, before, (await handle).files)
            job = await client.job(handle.id)
            tasks.cancel_scope.cancel()
        return job

    job = anyio.run(ask)
    if wait:
        return show_end(job, json=json)
    if json:
        print_json(job_report(job))
    else:
        print_line(job.id)
    return Exit.SUCCEEDED
